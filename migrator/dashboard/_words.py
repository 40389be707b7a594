"""What the pages say of times, states and sizes, as Jinja filters. Pure functions."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from markupsafe import Markup, escape

_TIME = re.compile(r"\b(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)[\d.]*Z")
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


class Look(NamedTuple):
    """How a state looks: its tone (a class of drawn.css) and its sign (a symbol of _signs.svg), never one alone."""

    tone: str
    sign: str


LOOKS: Mapping[str, Look] = {
    "applied": Look("good", "done"),
    "success": Look("good", "done"),
    "ok": Look("good", "done"),
    "done": Look("good", "done"),
    "pending": Look("wait", "ring"),
    "waiting": Look("wait", "ring"),
    "later": Look("idle", "ring"),
    "new": Look("wait", "ring"),
    "changed": Look("odd", "diamond"),
    "running": Look("busy", "play"),
    "paused": Look("wait", "pause"),
    "throttled": Look("wait", "pause"),
    "missed": Look("wait", "half"),
    "degraded": Look("wait", "half"),
    "interrupted": Look("bad", "half"),
    "blocked": Look("bad", "cross"),
    "failed": Look("bad", "cross"),
    "failing": Look("bad", "cross"),
    "silent": Look("bad", "cross"),
    "drifted": Look("odd", "diamond"),
    "unknown": Look("odd", "query"),
    "rolled_back": Look("idle", "back"),
    "cancelled": Look("idle", "cross"),
    "refused": Look("idle", "cross"),
    "revoked": Look("idle", "cross"),
    "expired": Look("idle", "cross"),
    "elsewhere": Look("idle", "dashes"),
}
"""Every word for how something stands: of revisions, runs, long changes, firings, databases, tokens, the audit."""


def look(word: str) -> Look:
    """Return how a state looks; a state that nobody drew looks idle."""
    return LOOKS.get(word, Look("idle", "ring"))


def moment(text: str) -> datetime | None:
    """Read a time as it is kept; None for "" and for what is no time."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def clock(text: str) -> str:
    """Return a time for a person, in UTC and to the second."""
    found = moment(text)
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if found else text


def timely(text: str) -> str:
    """Return a sentence of ours with its times as people read them."""
    return _TIME.sub(r"\1 \2", text)


def ago(text: str, now: datetime) -> str:
    """Return how long ago a time was, or in how long it will be, in about two digits; "" for no time."""
    found = moment(text)
    if found is None:
        return ""
    seconds = (now - found).total_seconds()
    said = span(abs(seconds))
    if said == "0 s":
        return "just now"
    return f"{said} ago" if seconds > 0 else f"in {said}"


def span(seconds: float) -> str:
    """Return a length of time in one unit: 12 s, 5 min, 3 h, 8 d."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{seconds / size:.{int(seconds < 2 * size)}f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"


def run_made(run_id: str) -> str:
    """Return when a run was planned, from its id, by the clock of whoever did; "" where the id says nothing."""
    digits = "0123456789abcdefghjkmnpqrstvwxyz"
    if len(run_id) != 13 or any(each not in digits for each in run_id):  # noqa: PLR2004 - see runtime.runs.new_id
        return ""
    number = 0
    for each in run_id:
        number = number * 32 + digits.index(each)
    try:
        return datetime.fromtimestamp((number >> 20) / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return ""


def next_day(day: date) -> date:
    """Return the day after."""
    return day + timedelta(days=1)


def spoken(text: str) -> Markup:
    """Return a text of ours with what stands in backticks set as what to type."""
    parts = str(escape(text)).split("`")
    whole = len(parts) % 2 == 1
    pairs = (f"<code>{part}</code>" if index % 2 and whole else part for index, part in enumerate(parts))
    return Markup(("" if whole else "`").join(pairs))  # noqa: S704 - it was escaped first


def sought(text: str, what: str) -> Markup:
    """Return a text with the places marked at which it has what is sought, whatever its case."""
    if not what:
        return escape(text)
    found, made, at = text.casefold(), Markup(), 0
    if len(found) != len(text):  # a letter that folds into two: the places would not be right
        return escape(text)
    while (place := found.find(what.casefold(), at)) >= 0:
        end = place + len(what.casefold())
        made += escape(text[at:place]) + Markup("<mark>") + escape(text[place:end]) + Markup("</mark>")
        at = end
    return made + escape(text[at:])
