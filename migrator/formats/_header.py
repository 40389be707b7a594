"""From the values that a file gives to a Header: one set of rules for every format and for both ways to read Python."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from migrator.core.duration import seconds
from migrator.core.revision import ID, Header
from migrator.formats._text import title_of

CONSTANTS = (
    "revision",
    "down_revision",
    "depends_on",
    "branch_labels",
    "tags",
    "transaction",
    "timeout",
    "rerunnable",
    "allow_pooled",
    "on_failed_verify",
    "repeatable",
    "once",
    "environments",
    "requires",
    "requires_backfill",
)
FUNCTIONS = ("upgrade", "downgrade", "verify")
AROUND = ("setup", "validate", "cleanup")
"""Functions that a Python script may have around its work."""

_SYNONYMS = {"revises": "down_revision"}
_CLOSE = 0.75
_LONGEST = 1e9  # seconds: what a server can be told as milliseconds in 64 bits, with room to spare
_LINK = re.compile(rf"(?:[^\s:,]+:)?{ID.pattern}")
_TAG = re.compile(r"[^\s,]{1,64}")
_NEED = re.compile(r"(?:[a-z]+:[A-Za-z][\w-]*|https?://\S+)")
_NEED_HINT = 'Write "postgres:main", "mongo:events", "env:NAME" or the address of a health page.'
_LOOP = re.compile(r"[^\s,]{1,200}")
_LOOP_HINT = 'Give the name of the loop, as in `ctx.batches(..., name="orders.total")`.'
_ID_HINT = "Use 1 to 64 letters, digits and underscores."
_LINK_HINT = 'Name a revision of this database by its id, one of another as "database:id".'


_PLACES = frozenset(("head", "heads", "base"))
_RESERVED = _PLACES | {"none"}
"""What targets and the `down_revision` of an SQL file mean by these words."""


class HeaderError(ValueError):
    """A value that a header cannot have; `key` is the constant to blame."""

    def __init__(self, key: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.key = key
        self.message = message
        self.hint = hint


def header_of(values: Mapping[str, Any], functions: Iterable[str], description: str, path: str) -> Header:
    """Return the Header that these constants describe; raise HeaderError for the first that cannot be used."""
    if "revision" not in values:
        raise HeaderError("revision", "there is no revision id", 'Add the id, for example `revision = "3f2a91c7d0e1"`.')
    fields = {key: _READERS[key](key, value) for key, value in values.items()}
    for kind in ("repeatable", "once"):
        if fields.get(kind):
            _check_script(fields, kind)
    title = title_of(description, path, fields["revision"])
    return Header(**fields, title=title, functions=frozenset(functions))


def _check_script(fields: Mapping[str, Any], kind: str) -> None:
    if fields.get("repeatable") and fields.get("once"):
        raise HeaderError("once", "a script is either repeatable or runs once", "Remove one of the two.")
    for key in ("down_revision", "branch_labels", "requires_backfill"):
        if fields.get(key):
            hint = f"Remove {key}: a script has no place in the order, and `depends_on` says what it needs."
            raise HeaderError(key, f"a revision with `{kind} = True` has no {key}", hint)


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, None where none is near."""
    from difflib import get_close_matches

    names = tuple(known)
    synonym = _SYNONYMS.get(word)
    if synonym in names:
        return synonym
    return next(iter(get_close_matches(word, names, n=1, cutoff=_CLOSE)), None)


def misspelt(name: str, others: Iterable[str]) -> str | None:
    """Return the function that was probably meant to be `name`: as long but for one letter, and nearly the same."""
    near = [other for other in others if other not in FUNCTIONS and abs(len(other) - len(name)) <= 1]
    if not near:
        return None
    from difflib import SequenceMatcher

    return next((other for other in near if SequenceMatcher(None, name, other).ratio() >= _CLOSE), None)


def _id(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise HeaderError(key, f"{key} is {value!r}, which is no text", "Write the id in quotes.")
    if not ID.fullmatch(value):
        raise HeaderError(key, f'{key} is "{value}", which is no id', _ID_HINT)
    if value.lower() in _RESERVED:
        hint = f"Choose another id: {', '.join(sorted(_RESERVED))} mean something in commands and headers."
        raise HeaderError(key, f'{key} is "{value}", which is reserved', hint)
    return value


def _labels(key: str, value: Any) -> tuple[str, ...]:
    labels = _names(ID, "label", _ID_HINT)(key, value)
    for label in labels:
        if label in _PLACES:
            raise HeaderError(key, f'{key} names "{label}", which is reserved', "Choose another label.")
    return labels


def _names(pattern: re.Pattern[str], noun: str, hint: str) -> Callable[[str, Any], tuple[str, ...]]:
    def read(key: str, value: Any) -> tuple[str, ...]:
        names = () if value is None else (value,) if isinstance(value, str) else value
        if not isinstance(names, tuple | list):
            raise HeaderError(key, f"{key} is {value!r}", f"{key} takes None, one text, or a tuple of texts.")
        for index, name in enumerate(names):
            if not isinstance(name, str) or not pattern.fullmatch(name):
                raise HeaderError(key, f"{key} names {_shown(name)}, which is no {noun}", hint)
            if name in names[:index]:
                raise HeaderError(key, f'{key} names "{name}" twice', "Remove one of them.")
        return tuple(names)

    return read


def _requires(key: str, value: Any) -> tuple[str, ...]:
    needs = (value,) if isinstance(value, str) else value
    if not isinstance(needs, tuple | list):
        raise HeaderError(key, f"{key} is {value!r}", f"{key} takes one text, or a tuple of texts.")
    for need in needs:
        if not isinstance(need, str) or not _NEED.fullmatch(need):
            raise HeaderError(key, f"{key} names {_shown(need)}, which nobody here can check", _NEED_HINT)
    return tuple(needs)


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise HeaderError(key, f"{key} is {_shown(value)}", f"{key} takes True or False.")
    return value


def _timeout(key: str, value: Any) -> float:
    hint = 'Write a text such as "90s", "10m" or "1h30m", or a number of seconds; 0 means no limit.'
    if isinstance(value, str):
        try:
            return seconds(value)
        except ValueError as error:
            raise HeaderError(key, f"{key}: {error}", hint) from error
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST:
        raise HeaderError(key, f"{key} is {value!r}, which is no length of time", hint)
    return float(value)


def _on_failed_verify(key: str, value: Any) -> str | None:
    if value not in (None, "downgrade"):
        raise HeaderError(key, f"{key} is {_shown(value)}", f'{key} takes "downgrade" only; leave it out otherwise.')
    return "downgrade" if value else None


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "revision": _id,
    "down_revision": _names(ID, "id", _ID_HINT),
    "depends_on": _names(_LINK, "revision", _LINK_HINT),
    "branch_labels": _labels,
    "tags": _names(_TAG, "tag", "A tag has no spaces and no commas."),
    "transaction": _flag,
    "timeout": _timeout,
    "rerunnable": _flag,
    "allow_pooled": _flag,
    "on_failed_verify": _on_failed_verify,
    "repeatable": _flag,
    "once": _flag,
    "environments": _names(_TAG, "environment", "An environment has no spaces and no commas."),
    "requires": _requires,
    "requires_backfill": _names(_LOOP, "loop", _LOOP_HINT),
}
