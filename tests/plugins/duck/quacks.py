"""Revisions in a file of the ending .quack: each line `name: value` of the header, then one word for each duck."""

from typing import Any

from migrator.core.errors import RevisionFileError
from migrator.core.revision import Header, Script

INTERFACE = 1
SUFFIXES = (".quack",)


def read(text: str, path: str) -> Header:
    """Return the header without running anything. Raises RevisionFileError."""
    values = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    if "revision" not in values:
        raise RevisionFileError("there is no revision", path=path, hint="Write `revision: ID`.")
    down = (values["down_revision"],) if "down_revision" in values else ()
    return Header(revision=values["revision"], down_revision=down, title="Quacks", functions=frozenset({"upgrade"}))


def load(text: str, path: str) -> Script:
    """Return the functions of the revision."""
    del path
    words = [line for line in text.splitlines() if line and ": " not in line]

    async def upgrade(ctx: Any) -> None:
        ctx.store.update(dict.fromkeys(words, True))

    return Script.of({"upgrade": upgrade})
