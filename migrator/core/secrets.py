"""What must never be shown, and text without it."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from migrator.core.utf8 import readable, visible

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

_FORMS = re.compile(
    r"""
      (://[^\s:@/"']{0,100}:) (?!\d{1,5}(?:[/\s"',;)]|\Z)) [^\s"']{1,200} (?=@)      # the password of an address
    | ((?:passw(?:or)?d|pwd|passphrase|secret|token|credentials?|(?:api|access|private|secret|account)[_-]?key)
       (?:["']?\]?\s{0,3}=\s{0,3}|["']\s{0,3}:\s{0,3}|(?<=[drtes]):\s{0,3}(?=["'])|(?<=[dr]d):\s{0,3}))
      (?!\*\*\*|(?:None|True|False|null|true|false)\b)
      (?:"(?:[^"\\\n]|\\.){1,500}"|'(?:[^'\\\n]|\\.){1,500}'|[^\s,;&)}\]"']{1,500})
    | (\bpassword\s{1,3}) '(?:[^'\n]|''){1,500}'                                     # CREATE ROLE ... PASSWORD '...'
    | (\b(?:bearer|authorization["']?\s{0,3}[:=]\s{0,3}["']?basic)\s{1,3}) [\w.~+/=-]{8,}
    | (-----BEGIN\ [A-Z ]{0,30}PRIVATE\ KEY-----) [^-]{1,20000}
    """,
    re.DOTALL | re.VERBOSE | re.IGNORECASE,
)
"""What is a secret by its form: a script has others than those of the configuration."""

_HINTS = ("://", "passw", "pwd", "passphrase", "secret", "token", "credential", "key", "bearer", "authorization")
"""One of these is in every text that has such a form: most lines have none, and looking for them is cheap."""

_SECRET_NAME = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|(api|access|private|account)_?key|_key\Z|_pwd\Z", re.IGNORECASE
)
"""A variable of the environment that holds a secret."""

_SHORTEST = 6
"""Letters from which the value of such a variable counts: a shorter one would hide words of the text."""

_ADDRESS = re.compile(r"[^:/@\s]+://[^:@/\s]*:(.+)@[^@]*", re.DOTALL)
_FRAME = re.compile(r'[ |]*File "[^\n]*", line \d+')
_LITERAL = re.compile(r"""([rbfu]{0,2})(\"\"\"|\'\'\'|"|')(?:\\.|(?!\2).)*(?:\2|\Z)""", re.IGNORECASE)

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
        """Return the text with every secret replaced, and such that a database and a terminal can take it.

        In a traceback from which something was taken, the string literals of its lines of code are taken, too.
        """
        found = self._masked(text)
        if found != text and _FRAME.search(text):
            found = self._masked(_without_literals(text))
        return visible(readable(found))

    def known(self, text: str) -> str:
        """Return the text with the secrets replaced that were learned, and nothing for its form alone."""
        return self._pattern.sub(SHOWN_INSTEAD, text) if self._pattern else text

    def _masked(self, text: str) -> str:
        found = self.known(_ARGUMENT.sub(_without_value, _QUOTES.sub(_without_rest, text)))
        lower = found.lower()
        return _FORMS.sub(_without_rest, found) if any(word in lower for word in _HINTS) else found


def of_environment(env: Mapping[str, str]) -> set[str]:
    """Return the values of the variables that hold secrets by their names, and the passwords of addresses in others."""
    named = {value for name, value in env.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST}
    passwords = {match[1] for value in env.values() if (match := _ADDRESS.fullmatch(value.strip()))}
    found = {each.strip() for each in named} | passwords
    return {form for each in found for form in (each, repr(each)[1:-1], unquote(each))}


def _without_rest(match: re.Match[str]) -> str:
    return f"{match[match.lastindex or 0]}{SHOWN_INSTEAD}"


def _without_literals(text: str) -> str:
    """Return a traceback whose lines of code have no string literals."""
    lines, code = text.split("\n"), False
    for number, line in enumerate(lines):
        if _FRAME.match(line):
            code = True
        elif code := code and line.lstrip(" |").strip() != "" and line.lstrip("|").startswith("    "):
            lines[number] = _LITERAL.sub(rf"\1\2{SHOWN_INSTEAD}\2", line)
    return "\n".join(lines)


def _without_value(match: re.Match[str]) -> str:
    reason = _REASON.match(match[2])
    shown = f" ({_VALUE.sub(SHOWN_INSTEAD, reason[1])})" if reason else ""
    return f"{match[1]}{SHOWN_INSTEAD}{shown}"
