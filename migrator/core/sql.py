"""The lexical structure of an SQL text: what is code, comment or literal, and where each statement ends.

The rules are those of PostgreSQL's scanner, with `standard_conforming_strings` on, and of psql, which cuts a text into
statements: a semicolon ends one unless it is inside parentheses or the body of a `BEGIN ATOMIC` function. No grammar is
needed for that, so it is right for every version of the server.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

# What is no ASCII belongs to names. Written the other way round, because `re` takes 10 ms for a set of all the rest.
_FIRST = r"[^\x00-@\[-^`{-\x7f]"
_NEXT = r"[^\x00-#%-/:-@\[-^`{-\x7f]"
_NAME_CHARACTER = re.compile(_NEXT)
_SPECIAL = re.compile(r"""(--[^\n]*)|(;)|((?<=[\s(,=])'(?:[^']++|'')*+')|['"$\\]|/\*""")
"""Where code ends: a comment, a semicolon, a string without a prefix, or the beginning of something else."""
_PLAIN = re.compile(r"'(?:[^']++|'')*+'")
_ESCAPED_PART = r"'(?:[^'\\]++|\\.|'')*+'"
_ESCAPED = re.compile(rf"{_ESCAPED_PART}(?:[ \t\f\v]*\n\s*{_ESCAPED_PART})*", re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"]++|"")*+"')
_DOLLAR = re.compile(rf"\$(?:{_FIRST}(?:(?!\$){_NEXT})*)?\$")
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_WORD = re.compile(rf"{_FIRST}{_NEXT}*")
_WORD_OR_PARENTHESIS = re.compile(rf"{_WORD.pattern}|[()]")
_NUMBER = re.compile(rf"(?<!{_NEXT})[0-9][\w.]*")
_BODIED = frozenset({"function", "procedure"})
_TOKEN = re.compile(
    rf"""{_FIRST}{_NEXT}*
    | \$?[0-9][\w.]*
    | [-+*/<>=]*[~!@#%^&|`?][-+*/<>=~!@#%^&|`?]*
    | [-+*/<>=]*[*/<>=]
    | ::|:=|\.\.
    | \S""",
    re.VERBOSE,
)
_SKIPPED_COMMANDS = ("\\restrict", "\\unrestrict")
"""What pg_dump writes around its output for psql only."""


_ENDING = re.compile(r"\b(?:abort|commit|end|prepare|rollback)\b", re.IGNORECASE)
_ENDING_COMMANDS = ("ABORT", "COMMIT", "END", "PREPARE TRANSACTION", "ROLLBACK")


class Kind(Enum):
    """What a piece of an SQL text is."""

    CODE = auto()
    COMMENT = auto()
    LITERAL = auto()
    NAME = auto()
    END = auto()
    COMMAND = auto()
    OPEN = auto()


class Piece(NamedTuple):
    """A part of a text, from `start` up to and without `end`.

    LITERAL is a string or a dollar-quoted text, NAME a quoted identifier, END a semicolon, COMMAND a backslash and the
    rest of its line, OPEN a quote or comment that is never closed.
    """

    kind: Kind
    start: int
    end: int


@dataclass(frozen=True)
class Statement:
    """A statement in a text. `start` is its first character that is no blank and no comment.

    `end` is after its semicolon, or the end of the text. `pieces` hold no comments.
    """

    start: int
    end: int
    pieces: tuple[Piece, ...]

    def words(self, text: str, limit: int = 8) -> list[str]:
        """Return the first unquoted words of the statement in lower case, up to its first literal or name."""
        found: list[str] = []
        for piece in self.pieces:
            if piece.kind is not Kind.CODE or len(found) >= limit:
                break
            found.extend(_WORD.findall(text, piece.start, piece.end))
        return [word.lower() for word in found[:limit]]

    def masked(self, text: str) -> str:
        """Return the statement on one line, without its strings and numbers: they may be data."""
        parts = ["'***'" if each.kind is Kind.LITERAL else text[each.start : each.end] for each in self.pieces]
        return _NUMBER.sub("***", " ".join("".join(parts).split()))


def pieces(text: str) -> Iterator[Piece]:
    """Yield the pieces of a text in order; together they are the text."""
    place = start = 0
    while match := _SPECIAL.search(text, place):
        begin, end = match.span()
        match match.lastindex:
            case 1:
                found = Piece(Kind.COMMENT, begin, end)
            case 2:
                found = Piece(Kind.END, begin, end)
            case 3:
                found = Piece(Kind.LITERAL, begin, end)
            case _:
                special = _special(text, begin)
                if special is None:
                    place = end
                    continue
                found = special
        if found.start > start:
            yield Piece(Kind.CODE, start, found.start)
        yield found
        place = start = found.end
    if start < len(text):
        yield Piece(Kind.CODE, start, len(text))


def _special(text: str, place: int) -> Piece | None:
    """Return the piece that begins with the character at a place, None where it is part of the code."""
    match text[place]:
        case "'":
            start, escaped = _prefix(text, place)
            return _closed(Kind.LITERAL, _ESCAPED if escaped else _PLAIN, text, start, place)
        case '"':
            return _closed(Kind.NAME, _QUOTED, text, place, place)
        case "$":
            return _dollar_quoted(text, place)
        case "\\":
            return Piece(Kind.COMMAND, place, _line_end(text, place))
    return _block(text, place)


def _prefix(text: str, place: int) -> tuple[int, bool]:
    """Return where the string starts whose quote is at a place, with its E, B, X, N or U&; and whether it is an E."""
    for prefix in (text[place - 2 : place], text[place - 1 : place]):
        start = place - len(prefix)
        if prefix.lower() in ("u&", "e", "b", "x", "n") and not _continues_name(text, start):
            return start, prefix in "eE"
    return place, False


def _continues_name(text: str, place: int) -> bool:
    """Say whether the character before a place belongs to a name or a number."""
    return place > 0 and _NAME_CHARACTER.match(text, place - 1) is not None


def _closed(kind: Kind, pattern: re.Pattern[str], text: str, start: int, place: int) -> Piece:
    match = pattern.match(text, place)
    return Piece(kind, start, match.end()) if match else Piece(Kind.OPEN, start, len(text))


def _dollar_quoted(text: str, place: int) -> Piece | None:
    tag = _DOLLAR.match(text, place)
    if tag is None or _continues_name(text, place):
        return None
    end = text.find(tag[0], tag.end())
    return Piece(Kind.LITERAL, place, end + len(tag[0])) if end >= 0 else Piece(Kind.OPEN, place, len(text))


def _block(text: str, place: int) -> Piece:
    """Return a block comment; they nest."""
    depth = 0
    for edge in _BLOCK_EDGE.finditer(text, place):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return Piece(Kind.COMMENT, place, edge.end())
    return Piece(Kind.OPEN, place, len(text))


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def is_skipped(command: str) -> bool:
    """Say whether a backslash command is one that means nothing outside of psql."""
    return command.split(maxsplit=1)[0] in _SKIPPED_COMMANDS


def statements(text: str) -> Iterator[Statement]:
    """Yield the statements of a text; where there is nothing between two semicolons, none."""
    current: list[Piece] = []
    depth = _Depth(text)
    for piece in pieces(text):
        if piece.kind is Kind.COMMENT or (piece.kind is Kind.COMMAND and is_skipped(text[piece.start : piece.end])):
            continue
        if piece.kind is Kind.END and not depth.is_inside:
            if statement := _statement(text, current, piece.end):
                yield statement
            current, depth = [], _Depth(text)
            continue
        current.append(piece)
        if piece.kind is Kind.CODE:
            depth.take(piece)
    if statement := _statement(text, current, len(text)):
        yield statement


def _statement(text: str, current: list[Piece], end: int) -> Statement | None:
    while current and current[0].kind is Kind.CODE:
        kind, start, stop = current[0]
        start += len(text[start:stop]) - len(text[start:stop].lstrip())
        if start < stop:
            current[0] = Piece(kind, start, stop)
            break
        current.pop(0)
    return Statement(current[0].start, end, tuple(current)) if current else None


class _Depth:
    """How deep in parentheses and in a function's body a place of one statement is, by psql's rule."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._parentheses = 0
        self._bodies = 0
        self._words: list[str] = []

    @property
    def is_inside(self) -> bool:
        """Say whether a semicolon here ends no statement."""
        return self._parentheses > 0 or self._bodies > 0

    def take(self, piece: Piece) -> None:
        """Take in a piece of code."""
        text = self._text
        if len(self._words) < 4:  # noqa: PLR2004 - CREATE OR REPLACE FUNCTION
            self._words += _WORD.findall(text[piece.start : piece.start + 200].lower())[:4]
        if self._words[:1] != ["create"] or _BODIED.isdisjoint(self._words[1:4]):
            opened = text.count("(", piece.start, piece.end) - text.count(")", piece.start, piece.end)
            self._parentheses = max(0, self._parentheses + opened)
            return
        for match in _WORD_OR_PARENTHESIS.finditer(text, piece.start, piece.end):
            self._token(match[0].lower())

    def _token(self, token: str) -> None:
        if token == "(":  # noqa: S105 - not a password
            self._parentheses += 1
        elif token == ")":  # noqa: S105 - not a password
            self._parentheses = max(0, self._parentheses - 1)
        elif self._parentheses:
            return
        elif token == "begin" or (token == "case" and self._bodies):  # noqa: S105 - not a password
            self._bodies += 1
        elif token == "end" and self._bodies:  # noqa: S105 - not a password
            self._bodies -= 1


def tokens(text: str) -> Iterator[str]:
    """Yield the tokens of a text without comments and blanks; words that are not quoted in lower case, as the server
    reads them.
    """
    for piece in pieces(text):
        if piece.kind is Kind.CODE:
            yield from (each.lower() for each in _TOKEN.findall(text, piece.start, piece.end))
        elif piece.kind is not Kind.COMMENT:
            yield text[piece.start : piece.end]


def line_of(text: str, place: int) -> int:
    """Return the line, from 1, of a place in a text."""
    return text.count("\n", 0, place) + 1


def transaction_command(words: Sequence[str]) -> str:
    """Return the command of a statement that begins or ends a transaction, from its first words; "" for any other.

    Savepoints, and what goes back to one, stay inside of the transaction.
    """
    match list(words):
        case ["commit" | "end" | "abort" as command, *_]:
            return command.upper()
        case ["rollback", *rest] if "to" not in rest[:2]:
            return "ROLLBACK"
        case ["prepare", "transaction", *_]:
            return "PREPARE TRANSACTION"
        case ["start", "transaction", *_]:
            return "START TRANSACTION"
        case ["begin", *_]:
            return "BEGIN"
    return ""


def ends_transaction(text: str) -> bool:
    """Say whether a text holds a command that ends the transaction in which it is sent."""
    if not _ENDING.search(text):
        return False
    return any(transaction_command(each.words(text)) in _ENDING_COMMANDS for each in statements(text))
