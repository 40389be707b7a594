"""What a section of an SQL file may hold: complete statements of the server, none of psql, and none that ends the
transaction in which the section runs.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from migrator.core.sql import Kind, Statement, pieces, statements, transaction_command

_SUSPECT = ("abort", "begin", "commit", "copy", "end", "explain", "prepare", "rollback", "start")
_LINE = r"""[ \t]*--[^\n]*|(?:[^'"$\\/\-\n]++|'[^'\\\n]*+'|"[^"\n]*+"|-(?!-)|/(?!\*))*+"""
_ORDINARY = re.compile(rf"(?:(?:{_LINE})\n)*+(?:{_LINE})")
"""See `is_ordinary`."""

_COMMENT = re.compile(r"^[ \t]*+(--[^\n]*)", re.MULTILINE)
_SOMETHING = re.compile(r"^[ \t;]*+(?!--)\S", re.MULTILINE)
_COPY = re.compile(r"\bfrom\s+stdin\b|\bto\s+stdout\b", re.IGNORECASE)
_PSQL = {
    "c": "A revision runs in the database whose folder it is in; another one has a folder of its own.",
    "i": "Put that SQL into this file.",
    "copy": "Write the rows as INSERT, or read the file in a Python revision.",
    "g": "Write the statements out, or build them with EXECUTE format(...) in a DO block.",
}
_PSQL_ALIASES = {"connect": "c", "ir": "i", "include": "i", "include_relative": "i", "gexec": "g", "gset": "g"}
_PSQL_HINT = "It is a command of psql, which the server does not know: remove it, or write the SQL that it stands for."
_COPY_HINT = "Write the rows as INSERT (`pg_dump --rows-per-insert=1000` does), or load them in a Python revision."
_OPENED = {"'": "a quote", '"': "a quoted name", "$": "a dollar quote", "/": "a comment"}


class Fault(NamedTuple):
    """What is wrong with a section, where in the text, and what to write instead."""

    message: str
    place: int
    hint: str


def is_ordinary(text: str) -> bool:
    """Say whether the comments of a text have lines of their own, and its literals end on theirs.

    Most files are so, and thousands are read for one `status`: their lines can be read one by one.
    """
    return _ORDINARY.fullmatch(text) is not None


def comments(text: str, *, ordinary: bool) -> Iterator[tuple[int, int]]:
    """Yield where the comments of a text are, from their `--` or `/*`."""
    if ordinary:
        return (match.span(1) for match in _COMMENT.finditer(text))
    return ((each.start, each.end) for each in pieces(text) if each.kind is Kind.COMMENT)


def is_suspect(text: str) -> bool:
    """Say whether a text has a word without which an ordinary one cannot be at fault."""
    lower = text.lower()
    return any(word in lower for word in _SUSPECT)


def sent(section: str) -> str:
    """Return what is sent of a section: all of it but the commands of psql that mean nothing to the server."""
    if "\\" in section:  # of those commands, only the ones to leave out have passed `fault`
        section = "".join(section[each.start : each.end] for each in pieces(section) if each.kind is not Kind.COMMAND)
    return section.rstrip()


def fault(text: str, section: str, *, transactional: bool, plain: bool) -> Fault | None:
    """Return the first fault of a section's text; None where it can be sent.

    `plain` says that the file is ordinary and has no suspect word.
    """
    alone = section != "verify" or ";" not in text.rstrip().removesuffix(";")
    if plain and alone and _SOMETHING.search(text):
        return None
    each: Statement | None = None
    for number, each in enumerate(statements(text), 1):
        wrong = _incomplete(text, section, each) or _copied(text, each)
        if wrong is None and section == "verify":
            wrong = _no_question(text, each, number)
        if wrong is None and (transactional or section == "verify"):
            wrong = _transaction(text, section, each)
        if wrong is not None:
            return wrong
    if each is None:
        return Fault(f"the section {section} is empty", -1, "Write its SQL, or remove the section.")
    return None


def _incomplete(text: str, section: str, statement: Statement) -> Fault | None:
    for piece in statement.pieces:
        if piece.kind is Kind.COMMAND:
            command = text[piece.start : piece.end].split(maxsplit=1)[0]
            name = command.lstrip("\\")
            hint = _PSQL.get(_PSQL_ALIASES.get(name, name), _PSQL_HINT)
            return Fault(f"{command} is a command of psql", piece.start, hint)
        if piece.kind is Kind.OPEN:
            opened = next(_OPENED[each] for each in text[piece.start : piece.end] if each in _OPENED)
            message = f"{opened} is opened in the section {section} and never closed"
            return Fault(message, piece.start, "Close it; a quote inside of a string is written twice.")
    return None


def _copied(text: str, statement: Statement) -> Fault | None:
    if statement.words(text, 1) != ["copy"]:
        return None
    code = " ".join(text[each.start : each.end] for each in statement.pieces if each.kind is Kind.CODE)
    moved = _COPY.search(code)
    if moved is None:
        return None
    return Fault(
        f"COPY {' '.join(moved[0].upper().split())} needs a client that sends rows", statement.start, _COPY_HINT
    )


def _no_question(text: str, statement: Statement, number: int) -> Fault | None:
    hint = "Write one SELECT with one row and one boolean column; AND joins several questions."
    if number > 1:
        return Fault("the section verify has more than one statement", statement.start, hint)
    if statement.words(text, 1) == ["explain"]:
        return Fault("the section verify is an EXPLAIN, which answers with a plan", statement.start, hint)
    return None


def _transaction(text: str, section: str, statement: Statement) -> Fault | None:
    command = transaction_command(statement.words(text))
    if not command:
        return None
    return Fault(
        f"{command} in the section {section}, which runs in a transaction of its own",
        statement.start,
        "Remove it: the section is committed as a whole, together with its row in the tracker. If its statements must "
        "commit one by one, write `-- transaction: off` above the first section.",
    )
