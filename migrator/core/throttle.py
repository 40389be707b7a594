"""What holds a long change back: the signals, what a reading of each means, and what may be asked for.

Here is the meaning only; who reads the signals is `runtime.throttle`. A clock is passed in, never read.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from migrator.core.duration import seconds
from migrator.core.errors import UsageError
from migrator.core.window import Window

STALE = 15.0
"""Seconds after which a reading says nothing any more, and the work stands still."""

REMEMBERED = 600
"""How many places of a primary are remembered."""

NAMES = ("window", "query", "http", "lag", "waiters", "long_transactions")
"""The signals, in the order in which they are asked; the first that says no is the reason."""

EVERYWHERE = ("window", "http")
"""Those that need no database."""

CLOSED = ("query", "http", "lag")
"""Those that hold the work back where they cannot be read; without the others it goes on."""

PAUSED, RATE = "paused", "rate"
"""The kinds of reason beside the signals' names: a person, and `max_rows_per_second`."""


class Reason(NamedTuple):
    """Why a long change stands still: `kind` is a word to count by, `text` is for people and has the figures."""

    kind: str
    text: str


class Reading(NamedTuple):
    """What a signal said, and when: a text where it holds the work back, "" where it does not."""

    at: float
    text: str = ""


class Lag(NamedTuple):
    """How many seconds a replica is behind."""

    replica: str
    seconds: float


@dataclass(frozen=True)
class Throttle:
    """What holds a long change back; None is off.

    `lag` and `long_transactions` are in seconds; `waiters` is how many sessions may not wait for our locks. `query` is
    SQL, or a command of MongoDB; a number above 0 or true holds back. `http` is an address; anything but 2xx does.
    """

    lag: float | None = 2.0
    waiters: int | None = 1
    long_transactions: float | None = None
    query: str | Mapping[str, Any] | None = None
    http: str | None = None
    window: Window | None = None

    def changed(self, table: Mapping[str, Any]) -> "Throttle":
        """Return it with the values of a table over it, as a person wrote them. Raises UsageError."""
        for name in table:
            if name not in NAMES:
                raise _refused(f"throttle has no signal {name!r}", _nearest(name))
        return replace(self, **{name: _value(name, value) for name, value in table.items()})

    def only(self, names: Sequence[str]) -> "Throttle":
        """Return it without the signals that a database does not have."""
        return replace(self, **{name: None for name in NAMES if name not in (*names, *EVERYWHERE)})

    @property
    def names(self) -> tuple[str, ...]:
        """Return the signals that are on."""
        return tuple(name for name in NAMES if getattr(self, name) is not None)


class Signals(Protocol):
    """What a database says of itself, over a connection of its own. Each method answers or raises within seconds.

    Only the methods of the signals that the kind of database has (`Capabilities.signals`) are ever called.
    PermissionDenied means that this user may not see it.
    """

    async def lag(self) -> Lag | None:
        """Return the replica that is furthest behind, None where there is none to be seen."""

    async def waiters(self) -> int:
        """Return how many sessions wait for a lock that a session of this adapter holds."""

    async def oldest(self) -> float:
        """Return the age in seconds of the oldest transaction that is not of this adapter, 0 where there is none."""

    async def value(self, query: Any) -> Any:
        """Return the first value that a query gives, None where it gives none."""


@dataclass
class Trail:
    """Where a primary was at which moment, so that a replica's place tells how long it has been behind.

    A place is any number that only grows. Unlike the difference of two dates this is right after a quiet time, when
    the first write makes a date jump.
    """

    _times: list[float] = field(default_factory=list)
    _places: list[float] = field(default_factory=list)

    def mark(self, now: float, place: float) -> None:
        """Note where the primary is now."""
        if not self._places or place > self._places[-1]:
            self._times.append(now)
            self._places.append(place)
            del self._times[:-REMEMBERED], self._places[:-REMEMBERED]

    @property
    def known(self) -> bool:
        """Say whether a place was noted."""
        return bool(self._places)

    def behind(self, now: float, place: float) -> float:
        """Return for how many seconds the primary is known to have been ahead of this place."""
        first = bisect_right(self._places, place)
        return now - self._times[first] if first < len(self._places) else 0.0


def reason(readings: Mapping[str, Reading], names: Sequence[str], now: float, stale: float = STALE) -> Reason | None:
    """Return why the work is to stand still now, None where nothing is against it."""
    for name in names:
        reading = readings.get(name)
        if reading is None:
            return Reason(name, f"{name}: nothing has been read yet")
        if now - reading.at > stale:
            return Reason(name, f"{name}: stale, the last reading is {now - reading.at:.0f} s old")
        if reading.text:
            return Reason(name, reading.text)
    return None


def lagging(worst: Lag | None, limit: float) -> str:
    """Return what the replica that is furthest behind means."""
    if worst is None or worst.seconds < limit:
        return ""
    return f"replica lag {worst.seconds:.1f} s >= {limit:g} s on {worst.replica}"


def waiting(count: int, limit: int) -> str:
    """Return what the number of sessions that wait for us means."""
    return f"waiters: {count} >= {limit} sessions wait for a lock of ours" if count >= limit else ""


def aged(age: float, limit: float) -> str:
    """Return what the age of the oldest transaction means."""
    return f"the oldest transaction is {age:.0f} s old >= {limit:g} s" if age >= limit else ""


def queried(value: Any) -> str:
    """Return what the first value of a query means. ValueError where it is neither a number nor true or false."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return f"the query gave {str(value).lower()}" if value is not None and float(value) > 0 else ""
    except TypeError:
        raise ValueError(f"it gave {type(value).__name__}, and not a number or true or false") from None


def probed(status: int) -> str:
    """Return what the answer to an HTTP probe means."""
    return "" if 200 <= status < 300 else f"the HTTP probe answered {status}"  # noqa: PLR2004 - 2xx


def unreadable(name: str, why: str) -> str:
    """Return what it means that a signal could not be read."""
    return f"{name} cannot be read: {why}" if name in CLOSED else ""


def _value(name: str, value: Any) -> Any:
    if value is None or value is False:
        return None
    if name in ("lag", "long_transactions"):
        return _seconds(name, getattr(Throttle, name) if value is True else value)
    if name == "waiters":
        if isinstance(value, int) and value >= 1:
            return int(value)
        raise _refused(f"waiters is {value!r}", "It takes a number of sessions from 1 on, or true or false.")
    if name == "query":
        if value and isinstance(value, str | Mapping) and value is not True:
            return value
        raise _refused("query is no query", 'Write SQL ("SELECT ..."), or a command of MongoDB ({"find": "flags"}).')
    if not isinstance(value, str):
        raise _refused(f"{name} is {value!r}", "It takes a text.")
    return _address(value) if name == "http" else Window.parse(value)


def _seconds(name: str, value: Any) -> float:
    try:
        found = seconds(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        found = 0.0
    if found > 0:
        return found
    raise _refused(f"{name} is {value!r}", 'It takes seconds, or a text such as "2s" or "500ms"; false is off.')


def _address(text: str) -> str:
    """Check an address; it is not shown, because it may hold a secret."""
    parts = urlsplit(text)
    if parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc:
        return text
    raise _refused("http is no address that can be probed", "It begins with http:// or https://, without a user.")


def _refused(message: str, hint: str) -> UsageError:
    return UsageError(message, state="Nothing was changed by it.", hint=hint)


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, NAMES, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else "Known: " + ", ".join(NAMES)
