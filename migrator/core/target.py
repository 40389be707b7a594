"""Where to go: the words a person types, and the revisions they mean."""

import re
from dataclasses import dataclass

from migrator.core.errors import UsageError

_FORM = re.compile(
    r"(?:(?P<database>[A-Za-z][\w-]*):)?"
    r"(?:(?P<label>\w+)@)?"
    r"(?P<anchor>\w+)?"
    r"(?P<offset>[+-][0-9]{1,9})?"
)

FORMS = "head, heads, base, +2, -1, 3f2a, 3f2a+1, label@head, events:3f2a"


@dataclass(frozen=True)
class Target:
    """One target, parsed and not yet looked up.

    `anchor` is `head`, `heads`, `base`, the beginning of an id, or "" where only an offset was given.
    """

    text: str
    database: str = ""
    label: str = ""
    anchor: str = ""
    offset: int = 0

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read a target. UsageError where it has no known form."""
        if not isinstance(text, str):
            raise UsageError(
                f"a target is a text, got {text!r}",
                state="Nothing was changed.",
                hint='Each target is an argument of its own: upgrade("main:head", "events:head").',
            )
        match = _FORM.fullmatch(text)
        if match is None or not (match["anchor"] or match["offset"]):
            raise UsageError(f"{text!r} is no target", state="Nothing was changed.", hint=f"Targets look like: {FORMS}")
        offset = int(match["offset"] or 0)
        anchor = match["anchor"] or ""
        if anchor in ("head", "heads", "base") and offset:
            raise UsageError(
                f"{text!r}: an offset counts from a revision, or stands alone",
                state="Nothing was changed.",
                hint=f"Write {match['offset']} alone, or an id before it.",
            )
        return cls(text, match["database"] or "", match["label"] or "", anchor, offset)

    @property
    def relative(self) -> bool:
        """Say whether the target counts from where the database stands."""
        return not self.anchor
