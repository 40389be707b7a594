"""Texts that not everything can take: what is not UTF-8 (Python has it as lone surrogates), and control characters."""

import re

_CONTROLS = re.compile(
    r"(?P<colour>\x1b\[[0-79;]{0,12}m)|\r(?!\n)|[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""What moves or hides text on a terminal; a line feed and a tab do not, and a plain colour is no harm."""


def is_utf8(text: str) -> bool:
    """Return whether a text can be written as UTF-8, as databases, logs and JSON need it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(text: str) -> str:
    """Return the text with what no database takes escaped: everything that is not UTF-8, and NUL."""
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def visible(text: str) -> str:
    """Return the text with its control characters escaped, so that a terminal shows them and does not obey them."""
    return _CONTROLS.sub(lambda match: match["colour"] or ascii(match[0])[1:-1], text)
