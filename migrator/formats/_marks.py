"""Comments that were meant to open a section, or to set something, and that would have no effect."""

import re
from typing import NamedTuple

from migrator.formats._header import FUNCTIONS, closest

_UP = ("up", "ups", "upgrade", "upgrades", "forward", "forwards", "redo")
_DOWN = ("down", "downs", "downgrade", "downgrades", "backward", "backwards", "undo", "rollback", "revert")
_VERIFY = ("verify", "verification")
SECTIONS = {**dict.fromkeys(_UP, "upgrade"), **dict.fromkeys(_DOWN, "downgrade"), **dict.fromkeys(_VERIFY, "verify")}
"""The words that other tools and people have for a section, and ours for it."""

_MARKED = frozenset(("up", "down", "upgrade", "downgrade", "undo", "rollback"))
"""Words that are the value of a key in marks of other tools; `-- see: verify` may be a remark."""

_TOOLS = ("migrate", "goose", "dbmate", "flyway", "yoyo", "liquibase", "micrate", "rambler", "sqlmigrate", "tern")
_AROUND = frozenset(
    (
        *("migration", "migrations", "migrator", "section", "sections", "script", "scripts", "sql", "step", "part"),
        *(
            "begin",
            "start",
            "starts",
            "block",
            "here",
            "below",
            "above",
            "statements",
            "code",
            "the",
            "this",
            "of",
            "db",
        ),
    )
)
"""Words that may be around the word of a section: `-- Down Migration`, `-- ---- create above / drop below ----`."""

_WORDS = re.compile(r"[^\W_]+")
_VERB = re.compile(r"(?:alter|create|delete|drop|insert|truncate|update)\b", re.IGNORECASE)
_KEYED = re.compile(r"\W*([^\W\d]+)\s*[:=]\s*(.*)", re.DOTALL)
_FOREIGN = re.compile(
    r"""\W*(?:
        \+\s*(?:goose|migrate|micrate|duck)\b       # goose, sql-migrate, micrate
      | (?:migrate|rambler|dbmate)\s*[:\s]\s*(?:up|down)\b    # dbmate, rambler
      | migrate\s*:                                  # dbmate
      | changeset\s+\S+:\S+ | liquibase\s+formatted  # Liquibase
      | rollback\s+(?:alter|create|delete|drop|insert|not\s+required|truncate|update)\b
      | (?:revert|undo)\s+\S+:\S+\s+from\b           # sqitch
      | create\s+above\b.*\bdrop\s+below            # tern
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_NO_TRANSACTION = re.compile(r"no\s*transaction|notransaction|transaction\w*\s*[:=]\s*(?:false|off|no)", re.IGNORECASE)
_STATEMENT_MARK = re.compile(r"statement\s*(?:begin|end)", re.IGNORECASE)
_NEAR_MIGRATOR = re.compile(r"\W*(m\w{6,9})\b", re.IGNORECASE)
_FEW = 3
"""`-- migrator downgrade now` is a mark without its colon; more words are a sentence."""


class Attempt(NamedTuple):
    """A comment that looks like a mark: what is wrong with it, and the right spelling."""

    message: str
    hint: str


def attempt(comment: str, *, is_title: bool) -> Attempt | None:
    """Return what a line of a comment, without its `--`, seems to be meant for; None for an ordinary remark.

    `is_title` says that it is above the first section, where `Revert: the new prices` is a title.
    """
    if not comment.isascii():
        from unicodedata import normalize  # a fullwidth colon, a no-break space

        comment = normalize("NFKC", comment)
    words = _WORDS.findall(comment.lower())
    if not words:
        return None
    if _FOREIGN.match(comment):
        return _foreign(comment, words)
    if _names_migrator(comment, words) or _is_only_section(words) or _is_keyed_section(comment, is_title=is_title):
        return _attempt(comment, _section(words))
    return None


def _foreign(comment: str, words: list[str]) -> Attempt:
    shown = " ".join(comment.split())
    if _STATEMENT_MARK.search(comment):
        return Attempt(f'"{shown}" is a mark of another tool', "Remove it: statements need no marks here.")
    if _NO_TRANSACTION.search(comment) and not _section(words):
        return Attempt(
            f'"{shown}" is a mark of another tool', "Write `-- transaction: off` above the first section instead."
        )
    found = _attempt(comment, _section(words))
    off = " and `-- transaction: off` above the first section" if _NO_TRANSACTION.search(comment) else ""
    return found._replace(message=f'"{shown}" is a mark of another tool', hint=found.hint.rstrip(".") + off + ".")


def _attempt(comment: str, section: str) -> Attempt:
    shown = " ".join(comment.split())
    known = ", ".join(f"`-- migrator: {name}`" for name in FUNCTIONS)
    right = f"`-- migrator: {section}`" if section else f"one of {known}"
    return Attempt(
        f'"{shown}" looks like the mark of a section, and opens none',
        f"Write {right} on a line of its own; word it differently if it is only a comment.",
    )


def _section(words: list[str]) -> str:
    found = next((SECTIONS[word] for word in words if word in SECTIONS), "")
    return found or next((near for word in words[1:2] if (near := closest(word, FUNCTIONS))), "")


def _names_migrator(comment: str, words: list[str]) -> bool:
    """Say whether a comment begins with our key, or nearly, and goes on as a mark does."""
    match = _NEAR_MIGRATOR.match(comment)
    if match is None:
        return False
    behind = comment[match.end() :].lstrip()
    if words[0] == "migrator" and behind.startswith((":", "=")):
        return True
    if not (behind.startswith((":", "=")) or len(words) <= _FEW) or words[1:2] == []:
        return False
    named = words[1] in SECTIONS or closest(words[1], FUNCTIONS) is not None
    return named and closest(words[0], ("migrator",)) is not None


def _is_only_section(words: list[str]) -> bool:
    """Say whether a comment has the name of a section and no word that is not about sections."""
    return any(word in SECTIONS for word in words) and all(
        word in SECTIONS or word in _AROUND or word in _TOOLS for word in words
    )


def _is_keyed_section(comment: str, *, is_title: bool) -> bool:
    """Return whether a comment is a downgrade after its key, or the key of another tool with the name of a section.

    As in `-- rollback: DROP TABLE orders`, or in `-- name: down`.
    """
    match = _KEYED.match(comment)
    if match is None:
        return False
    if match[1].lower() in _DOWN:
        return not is_title or _VERB.match(match[2]) is not None
    named = _WORDS.findall(match[2].lower())
    return not is_title and bool(named) and named[0] in _MARKED and all(word in _AROUND for word in named[1:])
