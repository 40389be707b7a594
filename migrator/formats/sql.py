"""Revisions in SQL: a header in comments, then one section for each function."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from migrator.core.errors import CheckFailed, RevisionFileError
from migrator.core.revision import Header, Script
from migrator.formats._header import HeaderError, header_of
from migrator.formats._text import one_line, unix_lines

SUFFIXES: tuple[str, ...] = (".sql",)

# A project without SQL files imports this module, too; so what reads them is imported where it is needed.


def read(text: str, path: str) -> Header:
    """Return what the comments at the top of a file say. Raises RevisionFileError with the line."""
    from migrator.core.sql import line_of
    from migrator.formats._sqlfile import SQLFile

    parsed = SQLFile(unix_lines(text), path)
    try:
        return header_of(parsed.values, parsed.starts, parsed.title, path)
    except HeaderError as error:
        hint = error.hint
        if error.key == "revision" and error.key not in parsed.values:
            hint = "Add the id, for example `-- revision: 3f2a91c7d0e1`."
        place = parsed.places.get(error.key)
        line = None if place is None else line_of(parsed.text, place)
        raise RevisionFileError(error.message, path=path, line=line, hint=hint) from error


def load(text: str, path: str) -> Script:
    """Return functions that send the sections to `ctx.script`, and the verify to `ctx.query`.

    Each section keeps the line numbers of the file. Raises RevisionFileError.
    """
    from migrator.formats._sqlfile import SQLFile

    sections = SQLFile(unix_lines(text), path).sections()
    return Script.of({name: _check(sql, path) if name == "verify" else _script(sql) for name, sql in sections.items()})


def parts(text: str) -> tuple[str, str]:
    """Return what upgrades and what only takes back or verifies, without comments and layout.

    Texts that are equal do the same. Raises RevisionFileError.
    """
    from migrator.core.sql import tokens
    from migrator.formats._sqlfile import SQLFile

    parsed = SQLFile(unix_lines(text), "")
    sections = {name: "\n".join(tokens(sql)).rstrip("\n;") for name, sql in parsed.sections().items()}
    forward = f"{sorted(parsed.values.items())}\n{sections.pop('upgrade')}"
    return forward, "\n".join(f"{name}\n{sql}" for name, sql in sorted(sections.items()))


def template(*, revision: str, title: str, down_revision: tuple[str, ...], labels: tuple[str, ...] = ()) -> str:
    """Return the text of a new revision in PostgreSQL's SQL, whose sections fail until they are written."""
    label_line = [f"-- branch_labels: {', '.join(labels)}"] if labels else []
    refusal = "DO $$ BEGIN RAISE EXCEPTION 'write the {} of {}'; END $$;"
    lines = [
        f"-- {one_line(title, revision)}",
        f"-- revision: {revision}",
        f"-- down_revision: {', '.join(down_revision) or 'none'}",
        *label_line,
        *("", "-- migrator: upgrade", refusal.format("upgrade", revision)),
        *("", "-- migrator: downgrade", refusal.format("downgrade", revision)),
        *("", "-- migrator: verify", f"SELECT 'write the verify of {revision}'::boolean;"),
    ]
    return "\n".join(lines) + "\n"


def _script(sql: str) -> Callable[[Any], Awaitable[None]]:
    async def run(ctx: Any) -> None:
        await ctx.script(sql)

    return run


def _check(sql: str, path: str) -> Callable[[Any], Awaitable[bool]]:
    """Return a verify that takes one row with one boolean, and nothing else, for an answer."""
    line = len(sql) - len(sql.lstrip("\n"))

    async def verify(ctx: Any) -> bool:
        rows = await ctx.query(sql, path)
        wrong = _no_answer(rows)
        if wrong:
            raise CheckFailed(f"{path}:{line}: the section verify returned {wrong}; it takes one row with one boolean")
        return bool(rows[0][0])

    return verify


def _no_answer(rows: Sequence[Any]) -> str:
    """Return why rows are no answer of yes or no, "" where they are one."""
    if len(rows) != 1:
        return f"{len(rows)} rows" if rows else "no row"
    if len(rows[0]) != 1:
        return f"{len(rows[0])} columns"
    value = rows[0][0]
    if value is None:
        return "NULL"
    return "" if isinstance(value, bool) else f"a value of type {type(value).__name__}"
