"""What must never be shown, and text without it."""

import re
from collections.abc import Iterable

from migrator.core.utf8 import readable

SHOWN_INSTEAD = "***"

_QUOTES = re.compile(
    r"""
      (DETAIL:[ ]{2}) .*? (?=\n(?:HINT:|\[|\n)|\Z)   # a row, in asyncpg's text of PostgreSQL's errors
    | (invalid\ input\ (?:syntax\ for\ type|value\ for\ enum)\ [^:\n]*:\ ) ".*?" (?=\n|\Z)
    | (value\ ) "[^"]*" (?=\ is\ out\ of\ range)
    | (\[parameters:\ ) .*? (?=\]\n|\]\Z)             # SQLAlchemy
    | ((?:dup\ key|full\ error):\ ) \{[^\n]*         # pymongo, of a document
    """,
    re.DOTALL | re.VERBOSE,
)
"""Where a driver's text quotes values of rows and documents. What stands before them is kept."""

_ARGUMENT = re.compile(r"(query argument \$\d+(?: in element #\d+ of \w+\(\) sequence)?: )([^\n]*)")
"""What asyncpg says of an argument that does not fit: its value, and behind it the reason in parentheses."""

_REASON = re.compile(r".* \(((?:an?|expected|int|invalid|list|object|value|'\w+' object)\b.*)\)\Z", re.DOTALL)
_VALUE = re.compile(
    r"""(?<!not\ )'(?!\w+'\ object)(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | (?<=got\ )(?!\w+\Z)\S.* | (?<=got\ )\d+""",
    re.VERBOSE | re.DOTALL,
)
"""A value in a reason, and not the name of a type."""


class Mask:
    """Replaces secrets in texts, and values that a driver quotes of the data.

    A secret of letters and digits only counts where it stands as a word.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Replace these, too, from now on, wherever this mask is in use: a script's parameters come late."""
        new = {secret for secret in secrets if secret} - self._secrets
        if not new:
            return
        self._secrets |= new
        forms = sorted(self._secrets, key=len, reverse=True)
        parts = [rf"(?<!\w){re.escape(form)}(?!\w)" if form.isalnum() else re.escape(form) for form in forms]
        self._pattern = re.compile("|".join(parts))

    def __call__(self, text: str) -> str:
        """Return the text with every secret replaced, and such that a database and a terminal can take it."""
        text = _QUOTES.sub(lambda match: f"{match[match.lastindex or 0]}{SHOWN_INSTEAD}", text)
        text = _ARGUMENT.sub(_without_value, text)
        return readable(self._pattern.sub(SHOWN_INSTEAD, text) if self._pattern else text)


def _without_value(match: re.Match[str]) -> str:
    reason = _REASON.match(match[2])
    shown = f" ({_VALUE.sub(SHOWN_INSTEAD, reason[1])})" if reason else ""
    return f"{match[1]}{SHOWN_INSTEAD}{shown}"
