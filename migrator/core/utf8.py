"""Texts from the operating system that may not be UTF-8: Python holds such bytes as lone surrogates."""


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
