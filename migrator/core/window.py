"""A time of day in which a long change may run: `22:00-06:00 Europe/Berlin`."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from migrator.core.errors import UsageError

_TIME = r"([01]?\d|2[0-3]):([0-5]\d)"
_WINDOW = re.compile(rf"{_TIME}\s*-\s*{_TIME}(?:\s+(\S+))?", re.ASCII)


@dataclass(frozen=True)
class Window:
    """From `start` to `end` in the wall time of `zone`; over midnight where the end is the smaller one.

    It is one stretch of time each day, also on the days on which the clocks are changed: a time that comes twice
    means its first coming, one that is skipped comes as much later as the clocks jumped.
    """

    text: str
    start: time
    end: time
    zone: tzinfo

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Read a window; without a zone it is in UTC. Raises UsageError."""
        found = _WINDOW.fullmatch(text.strip())
        if found is None:
            raise _refused(text, "Write it like `22:00-06:00 Europe/Berlin`; without a zone it is in UTC.")
        start, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
        if start == end:
            raise _refused(text, "Its end is its beginning. Leave it out where any time will do.")
        return cls(text.strip(), start, end, _zone(found[5], text) if found[5] else UTC)

    def closed(self, now: datetime) -> str:
        """Return why the work stands still at this moment, "" inside the window."""
        today = now.astimezone(self.zone).date()
        spans = [self._span(today + timedelta(days)) for days in (-1, 0, 1, 2)]
        if any(begin <= now < end for begin, end in spans):
            return ""
        left = min(begin for begin, _ in spans if begin > now) - now
        minutes = -(-int(left.total_seconds()) // 60)
        return f"outside {self.text}, which begins in {minutes // 60} h {minutes % 60:02} min"

    def _span(self, day: date) -> tuple[datetime, datetime]:
        """Return when the window of a day begins and ends, in UTC: two wall times of one zone do not compare."""
        last = day if self.end > self.start else day + timedelta(1)
        return self._moment(day, self.start), self._moment(last, self.end)

    def _moment(self, day: date, at: time) -> datetime:
        return datetime.combine(day, at, self.zone).astimezone(UTC)


def _zone(name: str, text: str) -> tzinfo:
    from zoneinfo import ZoneInfo, available_timezones

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        from difflib import get_close_matches

        known = available_timezones()
        near = get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else "It takes a zone such as Europe/Berlin or UTC."
        if not known:
            hint = "This machine knows no time zones: install the system's tzdata, or `pip install tzdata`."
        raise _refused(text, hint) from None


def _refused(text: str, hint: str) -> UsageError:
    return UsageError(f"the window {text!r} cannot be read", state="Nothing was changed by it.", hint=hint)
