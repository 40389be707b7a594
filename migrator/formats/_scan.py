"""The header of an ordinary Python revision by regular expression, several times as fast as `ast`.

A file is accepted only where the answer must be the same as that of `_tree`: simple constants on one line each come
first; after them no line that could bind a constant starts in the first column. Strings are told from code all the
way down, so that an SQL text that looks like Python changes nothing. Whatever is not provably ordinary goes to `_tree`.
Python's syntax is not checked here: a broken body is reported by `load`.
"""

import re
from typing import Any

from migrator.core.revision import Header
from migrator.formats._header import AROUND, CONSTANTS, FUNCTIONS, HeaderError, header_of, misspelt

_STRING = r"""(?:"[^"\\\n]*"|'[^'\\\n]*')"""
_END = r"[ \t]*(?:\#[^\n]*)?(?:\n|\Z)"
_BLANK = r"(?:[ \t]*(?:\#[^\n]*)?\n)*"
_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_CONSTANT = "|".join(CONSTANTS)
_KNOWN = FUNCTIONS + AROUND
_RESERVED = frozenset(CONSTANTS + _KNOWN)

_DOCSTRING = re.compile(rf'{_BLANK}(?:"""((?:[^"\\]++|"(?!""))*)"""{_END})?', re.ASCII)

_LINE = re.compile(
    rf"""{_BLANK}(?:
        (?P<key>{_CONSTANT})[ ]?=[ ]?
        (?P<value>{_STRING}|None|True|False|(?:0|[1-9][0-9]*)(?:\.[0-9]+)?
            |\((?:{_STRING},[ ]?)*(?:{_STRING},[ ]?{_STRING}|{_STRING},)?\)
            |\[(?:{_STRING},[ ]?)*{_STRING}?\])
        | (?:from[ ][\w.]+[ ])?import[ ](?P<imported>[\w., ]+)
    ){_END}""",
    re.VERBOSE | re.ASCII,
)

# What stands between the quotes of an f-string's {field} may be a string again: such a field is left to `_tree`.
_CODE = r"""(?:
      [^"'\#\\;\n\f\v]++
    | (?<![fFtT])(?<![fFtT][rR])(?:
          \"{3}(?:[^"\\]++|\\.|"(?!""))*\"{3} | "(?!"")(?:[^"\\\n]++|\\.)*"
        | '{3}(?:[^'\\]++|\\.|'(?!''))*'{3} | '(?!'')(?:[^'\\\n]++|\\.)*' )
    | (?:(?<=[fFtT])|(?<=[fFtT][rR]))(?:
          \"{3}(?:[^"\\{]++|\\[^{N]|\{\{|\{[^"'{}\#\\]*\}|"(?!""))*\"{3}
        | "(?!"")(?:[^"\\\n{]++|\\[^{N]|\{\{|\{[^"'{}\n\#\\]*\})*" )
    | \#[^\n]*+
)*"""

_BODY = re.compile(
    rf"""(?:(?:
          async[ ]def[ ](?:{"|".join(f"(?P<{name}>{name})" for name in _KNOWN)}|{_NAME})[ ]?\(
        | def[ ](?!(?:{"|".join(_KNOWN)})\b){_NAME}[ ]?\(
        | (?P<user>_[A-Za-z0-9_]*|[A-Z][A-Z0-9_]*)[ ]?(?::[^\n="'\#;\\]*)?=(?!=)
        | [ \t)\]}}@\#]
        | (?=\n)
    ){_CODE}(?:\n|\Z))*""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)

# One of our names as a target beside one of the user's own, as in `X = revision = ...` or `X = [a, tags] = ...`.
_TARGET = re.compile(rf"\b(?:{_CONSTANT}|{'|'.join(_KNOWN)})\b(?=\s*[=,)\]#])")
_DEFINED = re.compile(rf"^async def ({_NAME})", re.MULTILINE)
_WORD = re.compile(r"\w+")
_TEXTS = re.compile(_STRING)
_WORDS: dict[str, Any] = {"None": None, "True": True, "False": False}


def scan(text: str, path: str) -> Header | None:
    """Return the header of an ordinary file (with LF line ends), None for one that `_tree` has to read."""
    opening = _DOCSTRING.match(text)
    assert opening is not None, "the pattern matches the empty text"
    values: dict[str, Any] = {}
    position = opening.end()
    while line := _LINE.match(text, position):
        position = line.end()
        key, value, imported = line.groups()
        if key in values or (imported and not _RESERVED.isdisjoint(_WORD.findall(imported))):
            return None
        if key:
            values[key] = _value(value)
    functions = _functions(text, position)
    if "upgrade" not in functions:
        return None
    try:
        return header_of(values, functions, opening[1] or "", path)
    except HeaderError:
        return None


def _value(text: str) -> Any:
    """Return the value of a simple literal."""
    first = text[0]
    if first in "\"'":
        return text[1:-1]
    if first in "([":
        return tuple(string[1:-1] for string in _TEXTS.findall(text))
    return _WORDS[text] if text in _WORDS else float(text)


def _functions(text: str, position: int) -> list[str]:
    """Return the functions that the rest of the file defines; none where the rest is out of the ordinary."""
    body = _BODY.fullmatch(text, position)
    if body is None or (body["user"] and _TARGET.search(text, position)):
        return []
    found = [name for name in _KNOWN if body[name]]
    missing = [name for name in FUNCTIONS if not body[name]]
    if missing and any(misspelt(name, _DEFINED.findall(text, position)) for name in missing):
        return []
    return found if all(text.count(f"\nasync def {name}", position - 1) == 1 for name in found) else []
