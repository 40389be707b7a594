"""From the bytes of a file to its text, and the title that a file has without a description."""

import re

from migrator.core.errors import RevisionFileError

_DATE = re.compile(r"(?:[0-9]{4}[_-][0-9]{2}[_-][0-9]{2}|[0-9]{8,14})[_-]")


def decode(raw: bytes, path: str) -> str:
    """Return the text of a revision file: UTF-8, without a byte order mark.

    Raises RevisionFileError, with the line, where the bytes are not UTF-8 or contain a NUL character.
    """
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise RevisionFileError(
            f"the byte 0x{raw[error.start]:02x} at offset {error.start} is not UTF-8",
            path=path,
            line=raw.count(b"\n", 0, error.start) + 1,
            hint="Save the file as UTF-8.",
        ) from error
    if "\0" in text:
        raise RevisionFileError(
            f"there is a NUL character at byte offset {raw.index(0)}",
            path=path,
            line=raw.count(b"\n", 0, raw.index(0)) + 1,
            hint="Remove it: the file may be binary, or UTF-16; it must be UTF-8.",
        )
    return text


def unix_lines(text: str) -> str:
    """Return the text with LF line ends, so that a script is the same on every system, as its checksum is."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def refuse_empty(text: str, path: str) -> None:
    """Raise RevisionFileError for a file in which nothing is written."""
    if not text.strip():
        hint = 'Delete it, and let `migrator new "what it does"` write a new one.'
        raise RevisionFileError("the file is empty", path=path, hint=hint)


def title_of(description: str, path: str, revision: str) -> str:
    """Return the first line of a description without its full stop; where there is none, the words in the file name."""
    line = description.strip().partition("\n")[0].rstrip()
    if line:
        return line if line.endswith("..") else line.removesuffix(".")
    name = path.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]
    slug = _DATE.sub("", name, count=1) if _DATE.match(name) else name
    slug = slug.removeprefix(revision).lstrip("_-") or name
    return slug.replace("_", " ")


def one_line(title: str, revision: str) -> str:
    """Return a title for a template: on one line, closed by a full stop unless it ends a sentence already."""
    plain = " ".join(title.split()) or f"Revision {revision}"
    return plain if plain.endswith((".", "!", "?")) else plain + "."
