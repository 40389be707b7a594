"""Revisions in SQL: a header in comments, then one section for each function."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from migrator.core.errors import RevisionFileError, UsageError
from migrator.core.revision import Header, Script
from migrator.formats._header import CONSTANTS, FUNCTIONS, HeaderError, closest, header_of
from migrator.formats._text import one_line, refuse_empty, unix_lines

SUFFIXES: tuple[str, ...] = (".sql",)

_COMMENT = re.compile(r"[ \t]*--[ \t]*(?:([A-Za-z_][\w -]*?)[ \t]*:)?[ \t]*(.*?)[ \t]*")
_FLAGS = {
    "transaction": {"on": True, "off": False},
    "rerunnable": {"yes": True, "no": False},
    "allow_pooled": {"yes": True, "no": False},
    "repeatable": {"yes": True, "no": False},
}
_PLAIN = ("revision", "timeout", "on_failed_verify")
_KEYS = (*CONSTANTS, "migrator")
_SECTION_HINT = "Write `-- migrator: upgrade`, `-- migrator: downgrade` or `-- migrator: verify`."


def read(text: str, path: str) -> Header:
    """Return what the comments at the top of a file say. Raises RevisionFileError with the line."""
    parsed = _Parsed(unix_lines(text), path)
    try:
        return header_of(parsed.values, parsed.sections, parsed.title, path)
    except HeaderError as error:
        hint = error.hint
        if error.key == "revision" and error.key not in parsed.values:
            hint = "Add the id, for example `-- revision: 3f2a91c7d0e1`."
        line = parsed.lines.get(error.key)
        raise RevisionFileError(error.message, path=path, line=line, hint=hint) from error


def load(text: str, path: str) -> Script:
    """Return functions that send the sections to `ctx.script`, and the verify to `ctx.value`.

    Each section keeps the line numbers of the file. Raises RevisionFileError.
    """
    sections = _Parsed(unix_lines(text), path).sections
    return Script.of({name: (_check if name == "verify" else _script)(sql) for name, sql in sections.items()})


def template(
    *, revision: str, title: str, down_revision: tuple[str, ...], kind: str, labels: tuple[str, ...] = ()
) -> str:
    """Return the text of a new revision, whose sections fail until they are written.

    Raises UsageError for a kind of database that does not speak PostgreSQL's SQL.
    """
    if kind != "postgres":
        raise UsageError(
            f"a {kind} database has no SQL revisions",
            state="Nothing was written.",
            hint="Leave out the format to write a Python revision.",
        )
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


def _check(sql: str) -> Callable[[Any], Awaitable[bool]]:
    async def verify(ctx: Any) -> bool:
        return bool(await ctx.value(sql))

    return verify


class _Parsed:
    """The header and the sections of one file, and on which lines they are."""

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self.lines: dict[str, int] = {}
        self.title = ""
        self.starts: dict[str, int] = {}
        refuse_empty(text, path)
        rows = text.split("\n")
        for line, row in enumerate(rows, start=1):
            self.row(row, line)
        if "upgrade" not in self.starts:
            self.refuse("there is no upgrade section", None, "Write `-- migrator: upgrade` above its SQL.")
        self.sections = self.cut(rows)

    def refuse(self, message: str, line: int | None, hint: str) -> NoReturn:
        """Raise the error of this file."""
        raise RevisionFileError(message, path=self.path, line=line, hint=hint)

    def row(self, row: str, line: int) -> None:
        """Take in one line of the file."""
        comment = _COMMENT.fullmatch(row)
        if comment is None:
            if row.strip() and not self.starts:
                self.refuse("there is SQL above the first section", line, _SECTION_HINT)
        elif comment[1] == "migrator":
            self.section(comment[2], line)
        elif self.starts:
            self.stray(comment[1], comment[2], line)
        else:
            self.header(comment[1], comment[2], line)

    def header(self, key: str | None, value: str, line: int) -> None:
        """Take in a comment above the first section."""
        if key in CONSTANTS:
            if key in self.lines:
                self.refuse(f"{key} is given twice, first on line {self.lines[key]}", line, "Remove one of them.")
            self.lines[key] = line
            self.values[key] = self.value(key, value, line)
            return
        if key and (meant := closest(key.lower().replace(" ", "_").replace("-", "_"), _KEYS)):
            self.refuse(f"{key} is not a key of a header", line, f"Did you mean `-- {meant}: {value}`?")
        words = f"{key}: {value}" if key else value
        if any(letter.isalnum() for letter in words):  # and not a row of dashes
            self.title = self.title or words

    def value(self, key: str, value: str, line: int) -> Any:
        """Return the value that a comment gives to a key."""
        if not value:
            self.refuse(f"{key} has no value", line, "Leave the line out, or write a value.")
        if key in _PLAIN:
            return value
        if key in _FLAGS:
            words = _FLAGS[key]
            if value not in words:
                self.refuse(f'{key} is "{value}"', line, f"{key} takes {' or '.join(words)}.")
            return words[value]
        return () if value == "none" else tuple(item.strip() for item in value.split(","))

    def section(self, name: str, line: int) -> None:
        """Take in the line that opens a section."""
        if name not in FUNCTIONS:
            meant = closest(name, FUNCTIONS)
            hint = f"Did you mean `-- migrator: {meant}`?" if meant else _SECTION_HINT
            self.refuse(f'there is no section "{name}"', line, hint)
        if name in self.starts:
            message = f"{name} is there twice, first on line {self.starts[name]}"
            self.refuse(message, line, "Join the two sections.")
        self.starts[name] = line

    def stray(self, key: str | None, value: str, line: int) -> None:
        """Refuse a comment inside a section that would be silently without effect."""
        if key in CONSTANTS:
            hint = "Move it above the first section; word it differently if it is only a comment."
            self.refuse(f"{key} is inside a section, where it has no effect", line, hint)
        elif key and value in FUNCTIONS and closest(key.lower(), ("migrator",)):
            self.refuse(f"{key} opens no section", line, f"Did you mean `-- migrator: {value}`?")

    def cut(self, rows: list[str]) -> dict[str, str]:
        """Return the SQL of each section, with as many empty lines before it as the file has lines before it."""
        ends = [*[start - 1 for start in self.starts.values()][1:], len(rows)]
        sections = {}
        for (name, start), end in zip(self.starts.items(), ends, strict=True):
            body = rows[start:end]
            if all(not row.strip() or row.lstrip().startswith("--") for row in body):
                self.refuse(f"the section {name} is empty", start, "Write its SQL, or remove the section.")
            sections[name] = "\n" * start + "\n".join(body).rstrip()
        return sections
