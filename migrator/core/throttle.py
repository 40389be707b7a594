"""What holds a long change back: the signals, what a reading of each means, and what may be asked for.

A reason is a text for people, with figures, behind a word to count by: `lag: 4.2 s >= 2 s on replica1`. The words are
the names of the signals, and `paused` and `rate`. A clock is passed in, never read.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from migrator.core.duration import seconds
from migrator.core.errors import ConfigError, UsageError
from migrator.core.window import Window
from migrator.core.wording import counted

if TYPE_CHECKING:
    from migrator.core.protocols import Capabilities

STALE = 15.0
"""Seconds after which a reading says nothing any more, and the work stands still."""

REMEMBERED = 600
"""How many places of a primary are remembered."""

NAMES = ("window", "query", "http", "lag", "waiters", "long_transactions")
"""The signals, in the order in which they are asked; the first that says no is the reason."""

APART = ("window", "http")
"""Those that need no database."""

CLOSED = ("query", "http", "lag")
"""Those that hold the work back where they cannot be read; without the others it goes on."""


class Reading(NamedTuple):
    """What a signal said, and when: why it holds the work back, "" where it does not."""

    at: float
    why: str = ""


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


def chosen(database: "Capabilities", *tables: Mapping[str, Any]) -> Throttle:
    """Return what holds a change of a kind of database back: the defaults, and tables one over the other.

    Raises UsageError where a table asks for what such a database does not have.
    """
    found = Throttle()
    for table in tables:
        found = found.changed(table)
        for name in table:
            if name not in (*database.signals, *APART) and getattr(found, name) is not None:
                raise _refused(f"this kind of database does not show {name}", "Leave it out of the throttle.")
    found = replace(found, **{name: None for name in NAMES if name not in (*database.signals, *APART)})
    if found.query is not None and isinstance(found.query, str) is not database.sql:
        wanted = "SQL" if database.sql else 'a command, such as {"find": "flags"}'
        raise _refused("the query of the throttle is for another kind of database", f"It takes {wanted} here.")
    return found


def checked(table: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return a table of migrator.toml as it is. Raises ConfigError with its place where it cannot be meant."""
    try:
        Throttle().changed(table)
    except UsageError as error:
        raise ConfigError(f"{where}: {error.message}", state="Nothing was changed.", hint=error.hint) from None
    return table


def kind(reason: str) -> str:
    """Return the word by which a reason is counted."""
    return reason.partition(":")[0]


def reason(readings: Mapping[str, Reading], names: Sequence[str], now: float, stale: float = STALE) -> str:
    """Return why the work is to stand still now, "" where nothing is against it."""
    for name in names:
        reading = readings.get(name)
        if reading is None:
            return f"{name}: nothing has been read yet"
        if now - reading.at > stale:
            return f"{name}: stale, the last reading is {now - reading.at:.0f} s old"
        if reading.why:
            return f"{name}: {reading.why}"
    return ""


def lagging(worst: Lag | None, limit: float) -> str:
    """Return what the replica that is furthest behind means."""
    behind = worst is not None and worst.seconds >= limit
    return f"{worst.seconds:.1f} s >= {limit:g} s on {worst.replica}" if worst and behind else ""


def waiting(count: int, limit: int) -> str:
    """Return what the number of sessions that wait for us means."""
    return f"{count} >= {counted(limit, 'session')} behind a lock of ours" if count >= limit else ""


def aged(age: float, limit: float) -> str:
    """Return what the age of the oldest transaction means."""
    return f"the oldest is {age:.1f} s >= {limit:g} s old" if age >= limit else ""


def queried(value: Any) -> str:
    """Return what the first value of a query means. ValueError where it is neither a number nor true or false."""
    try:
        number = 0.0 if value is None else math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"it gave {type(value).__name__}, and not a number or true or false")
    return f"it gave {str(value).lower()}" if number > 0 else ""


def probed(status: int) -> str:
    """Return what the answer to an HTTP probe means."""
    return "" if 200 <= status < 300 else f"the probe answered {status}"  # noqa: PLR2004 - 2xx


def unreadable(name: str, error: str) -> str:
    """Return what it means that a signal could not be read."""
    return f"cannot be read: {error}" if name in CLOSED else ""


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
