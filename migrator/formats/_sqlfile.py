"""The parts of an SQL file: header and title in comments, then the sections, each behind its mark."""

import re
from collections.abc import Iterator
from typing import Any, NoReturn

from migrator.core.errors import RevisionFileError
from migrator.core.sql import is_skipped, line_of
from migrator.formats._header import CONSTANTS, FUNCTIONS, closest
from migrator.formats._marks import SECTIONS, attempt
from migrator.formats._sections import comments, fault, is_ordinary, is_suspect, sent
from migrator.formats._text import refuse_empty

_COMMENT = re.compile(r"[ \t]*--[ \t]*(?:([A-Za-z_][\w -]*?)[ \t]*:)?[ \t]*(.*?)[ \t]*")
_KEY = re.compile(r"[\s*]*([a-z_]+)\s*[:=]\s*(.*?)\s*")
_WORDS = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}
_FLAGS = ("transaction", "rerunnable", "allow_pooled", "repeatable", "once")
_BARE_FLAG = re.compile(rf"[\W_]*({'|'.join(_FLAGS)})\W+({'|'.join(_WORDS)})\W*", re.IGNORECASE)
_PLAIN = ("revision", "timeout", "on_failed_verify")
_KEYS = (*CONSTANTS, "migrator")
_SECTION_HINT = "Write `-- migrator: upgrade`, `-- migrator: downgrade` or `-- migrator: verify`."


class SQLFile:
    """The header and the sections of one file, and where they are."""

    def __init__(self, text: str, path: str) -> None:
        self.text = text
        self.path = path
        self.values: dict[str, Any] = {}
        self.places: dict[str, int] = {}
        self.title = ""
        self.starts: dict[str, int] = {}
        self._ends: list[int] = []
        refuse_empty(text, path)
        self._ordinary = is_ordinary(text)
        above = 0
        for start, end in comments(text, ordinary=self._ordinary):
            if not self.starts:
                self.refuse_code(above, start)
                above = end
            self.comment(start, end)
        if not self.starts:
            self.refuse_code(above, len(text))
        if "upgrade" not in self.starts:
            self.refuse("there is no upgrade section", None, "Write `-- migrator: upgrade` above its SQL.")
        self.bodies = dict(zip(self.starts, self.cut(), strict=True))
        self.check()

    def refuse(self, message: str, place: int | None, hint: str) -> NoReturn:
        """Raise the error of this file, with the line of a place in it."""
        line = None if place is None else line_of(self.text, place)
        raise RevisionFileError(message, path=self.path, line=line, hint=hint)

    def refuse_code(self, start: int, end: int) -> None:
        """Refuse SQL above the first section."""
        code = self.text[start:end].strip()
        if code and not is_skipped(code):
            place = self.text.index(code, start)
            self.refuse("there is SQL above the first section", place, _SECTION_HINT)

    def comment(self, start: int, end: int) -> None:
        """Take in a comment: a mark, a key, the title, or a remark."""
        row = self.text.rfind("\n", 0, start) + 1
        found = _COMMENT.fullmatch(self.text, row, end)
        if found is None:
            self.remark(self.text[start:end], start)
        elif found[1] == "migrator":
            self.section(found[2], row)
            self._ends.append(end)
        elif self.starts:
            self.stray(found[1], start)
            self.remark(self.text[start:end], start)
        else:
            self.header(found[1], found[2], start)

    def remark(self, comment: str, place: int) -> None:
        """Take in a comment that is no mark; refuse one that was meant as a mark or a key."""
        for row in comment.removeprefix("/*").removesuffix("*/").split("\n"):
            said = row.strip().removeprefix("--")
            self.refuse_attempt(said, place)
            known = _KEY.fullmatch(said)
            if known and known[1] in CONSTANTS and not self.starts:
                hint = f"Write `-- {known[1]}: {known[2]}` on a line of its own."
                self.refuse(f"{known[1]} is in a comment of another form, where it has no effect", place, hint)
            if not self.starts and any(letter.isalnum() for letter in said):
                self.title = self.title or said.strip(" \t*")
            place += len(row) + 1

    def refuse_attempt(self, said: str, place: int) -> None:
        """Refuse a comment that looks like a mark and is none."""
        if meant := attempt(said, is_title=not self.starts):
            self.refuse(meant.message, place, meant.hint)

    def header(self, key: str | None, value: str, place: int) -> None:
        """Take in a comment above the first section."""
        if key in CONSTANTS:
            if key in self.places:
                first = line_of(self.text, self.places[key])
                self.refuse(f"{key} is given twice, first on line {first}", place, "Remove one of them.")
            self.places[key] = place
            self.values[key] = self.value(key, value, place)
            return
        words = f"{key}: {value}" if key else value
        self.refuse_attempt(words, place)
        if key and (meant := closest(key.lower().replace(" ", "_").replace("-", "_"), _KEYS)):
            self.refuse(f"{key} is not a key of a header", place, f"Did you mean `-- {meant}: {value}`?")
        if flag := _BARE_FLAG.fullmatch(words):
            name = flag[1].lower()
            self.refuse(f"{words} sets nothing", place, f"Write `-- {name}: {flag[2]}`.")
        if any(letter.isalnum() for letter in words):  # and not a row of dashes
            self.title = self.title or words

    def value(self, key: str, value: str, place: int) -> Any:
        """Return the value that a comment gives to a key."""
        if not value:
            self.refuse(f"{key} has no value", place, "Leave the line out, or write a value.")
        if key in _PLAIN:
            return value
        if key in _FLAGS:
            if value.lower() not in _WORDS:
                self.refuse(f'{key} is "{value}"', place, f"{key} takes on or off, yes or no, true or false.")
            return _WORDS[value.lower()]
        return () if value == "none" else tuple(item.strip() for item in value.split(","))

    def section(self, name: str, place: int) -> None:
        """Take in the line that opens a section."""
        if name not in FUNCTIONS:
            meant = SECTIONS.get(name.lower()) or closest(name, FUNCTIONS)
            hint = f"Did you mean `-- migrator: {meant}`?" if meant else _SECTION_HINT
            self.refuse(f'there is no section "{name}"', place, hint)
        if name in self.starts:
            message = f"{name} is there twice, first on line {line_of(self.text, self.starts[name])}"
            self.refuse(message, place, "Join the two sections.")
        self.starts[name] = place

    def stray(self, key: str | None, place: int) -> None:
        """Refuse a key inside a section that would be silently without effect."""
        if key in CONSTANTS:
            hint = "Move it above the first section; word it differently if it is only a comment."
            self.refuse(f"{key} is inside a section, where it has no effect", place, hint)

    def cut(self) -> Iterator[str]:
        """Yield the text of each section, from the end of its mark's line."""
        for end, stop in zip(self._ends, [*[*self.starts.values()][1:], len(self.text)], strict=True):
            yield self.text[end:stop]

    def check(self) -> None:
        """Refuse a section that could not be sent as it stands, or that would end its own transaction."""
        transactional = bool(self.values.get("transaction", True))
        plain = self._ordinary and not is_suspect(self.text)
        for (name, body), end in zip(self.bodies.items(), self._ends, strict=True):
            wrong = fault(body, name, transactional=transactional, plain=plain)
            if wrong is not None:
                place = self.starts[name] if wrong.place < 0 else end + wrong.place
                self.refuse(wrong.message, place, wrong.hint)

    def sections(self) -> dict[str, str]:
        """Return the SQL of each section, with as many empty lines before it as the file has lines before it."""
        marks = {name: line_of(self.text, start) for name, start in self.starts.items()}
        return {name: "\n" * (marks[name] - 1) + sent(body) for name, body in self.bodies.items()}
