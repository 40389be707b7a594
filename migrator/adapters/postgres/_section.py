"""Runs a section of an SQL file, and finds the statement that failed."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator.core.errors import DatabaseError, StatementFailed, TransactionAborted
from migrator.core.sql import Statement, line_of, statements

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from migrator.adapters.postgres._link import Link

DOING = "run the statement"

_CHECK = "SET CONSTRAINTS ALL IMMEDIATE"

_SYNTAX_ERROR = "42601"

_SECOND_PASS = 10.0
"""Seconds: a text that ran for longer before it failed is not run again to find the statement."""

_SHOWN = 160
"""Characters of a statement in a message."""


@dataclass(frozen=True)
class Part:
    """A piece of text to send. `path` is the revision file that it is from, "" for our own statements.

    `line` is the line of the file on which the text begins.
    """

    text: str
    path: str = ""
    line: int = 1

    def explain(self, error: DatabaseError, place: int | None) -> None:
        """Put file, line and statement into an error of the server.

        `place` is the character that the server names. Where it names none and the text has several statements, nothing
        is known, and the error stays as it is.
        """
        statement = self._statement(place)
        if not self.path or statement is None:
            return
        line = self.line - 1 + line_of(self.text, statement.start if place is None else place)
        shown = statement.masked(self.text)
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
        message = error.message.replace(f"could not {DOING}:", f"could not run `{shown}`:", 1)
        error.message = f"{self.path}:{line}: {message}"
        error.args = (error.message,)

    def _statement(self, place: int | None) -> Statement | None:
        found = list(statements(self.text))
        if place is None:
            return found[0] if len(found) == 1 else None
        before = [each for each in found if each.start <= place]
        return before[-1] if before else None


async def run_together(link: "Link", text: str, path: str, begin: str) -> None:
    """Run a section inside of the step's transaction, in one text, and check the deferred constraints.

    What is ours behind the text has no quote, so that it cannot close one that the text left open.

    The server does not say at which statement of a text it failed, unless the parser did. Then the transaction is
    rolled back and its statements are sent again one by one, after `begin`, up to the one that fails; a transaction is
    open afterwards in any case, for the caller to roll back.
    """
    began = time.monotonic()
    link.later(text, path)
    try:
        await link.execute(_CHECK, DOING)
    except StatementFailed as error:
        known = error.message.startswith(path) or isinstance(error, TransactionAborted) or not link.alive
        if known or time.monotonic() - began > _SECOND_PASS:
            raise
        await _find(link, text, path, begin, error)
        raise


async def _find(link: "Link", text: str, path: str, begin: str, error: StatementFailed) -> None:
    """Raise the same error with its place, if it comes again."""
    try:
        await link.execute(f"ROLLBACK; {begin}", "begin again")
        for each in _parts(text, path):
            await link.execute(each.text, DOING, path=path, line=each.line)
        await link.execute(_CHECK, f"check the deferred constraints of {path}")
    except StatementFailed as found:
        if found.code == error.code:
            raise found from error.__cause__


async def run_one_by_one(link: "Link", text: str, path: str, count: "Callable[[str, int], Awaitable[None]]") -> None:
    """Run a section outside of a transaction, each statement by itself, in the extended protocol.

    `count` is awaited before each, with its text and the number of all. Before the first, the server is shown the
    whole: it parses it, and refuses what it cannot read before anything has run.
    """
    parts = _parts(text, path)
    if len(parts) > 1 and await _is_one(link, text, path):
        return
    for part in parts:
        await count(part.text, len(parts))
        await link.fetch(part.text, (), DOING, path=path, line=part.line)


async def _is_one(link: "Link", text: str, path: str) -> bool:
    """Let the server parse a text of several statements, which it will not run; True where to the server it is one.

    Raises StatementFailed with the place where there is an error in the syntax.
    """
    try:
        await link.fetch(text, (), DOING, path=path)
    except StatementFailed as error:
        if error.code != _SYNTAX_ERROR or is_unread(error):  # the refusal to run several statements names no place
            raise
        return False
    return True


def is_unread(error: StatementFailed) -> bool:
    """Say whether the server refused a statement when it read it: then it names the place, and nothing has run."""
    return bool(getattr(error.__cause__, "position", None))


def _parts(text: str, path: str) -> list[Part]:
    found, line, place = [], 1, 0
    for each in statements(text):
        line += text.count("\n", place, each.start)
        place = each.start
        found.append(Part(text[each.start : each.end], path, line))
    return found
