"""A run as it goes on, for everybody who looks: how it stands, how far it is, what it says.

Each instance asks once a second for a run, however many look on; and whoever runs it need not know of them.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from migrator.core.errors import DatabaseError
from migrator.core.run import Run
from migrator.core.runs import RUNNING, RunFilter
from migrator.dashboard._asking import Asking
from migrator.runtime.logfiles import NoLog
from migrator.runtime.logtail import LogPage, Wanted

POLL = 1.0
"""Seconds between two looks."""

LINES = 500
"""How many lines of a log one value holds at most."""

BEFORE = 100
"""How many of the last lines are told first to whoever begins to look."""

AT_ONCE = 20
"""How many pages of lines of a run that goes on are told before anything else is looked at again."""


class Place(NamedTuple):
    """A place in a log: see `runtime.logtail`. As text, `offset.mark`, it is the id of an event."""

    offset: int
    mark: str

    def __str__(self) -> str:
        """Return it as text."""
        return f"{self.offset}.{self.mark}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read it from text that has the form of PLACE."""
        offset, _, mark = text.partition(".")
        return cls(int(offset), mark)


PLACE = r"^[0-9]{1,18}\.[0-9a-f]{0,8}$"
"""The form of a place as text."""


@dataclass(frozen=True)
class RunState:
    """How a run stands."""

    run_id: str
    database: str
    revision: str
    title: str
    direction: str
    standing: str
    effect: str
    reason: str
    error: str
    started_at: str
    finished_at: str
    duration_ms: float | None


@dataclass(frozen=True)
class Progress:
    """How far a run is: a long change as `Change.as_dict` has it, or the `progress` that the run's row has."""

    told: Mapping[str, Any]


@dataclass(frozen=True)
class Throttled:
    """Why a long change stands still, "" where it goes on."""

    waiting: str


@dataclass(frozen=True)
class LogLines:
    """What was said since; or why there is no log, in `note`."""

    page: LogPage
    note: str = ""


@dataclass(frozen=True)
class Away:
    """The database does not answer; it is asked again."""

    message: str


@dataclass(frozen=True)
class Ended:
    """The run is over, or was deleted: nothing comes after this."""

    state: RunState | None


Seen: TypeAlias = RunState | Progress | Throttled | LogLines | Away | Ended


@dataclass(frozen=True)
class _Look:
    run: Run
    state: RunState
    progress: Progress
    throttled: Throttled

    @property
    def over(self) -> bool:
        return self.state.standing != RUNNING


async def watch(asking: Asking, run: Run, place: Place | None = None) -> AsyncIterator[tuple[Place, Seen]]:
    """Yield what changes of a run until it is over, each with the place in its log up to which all was told.

    Without a place, the last lines of its log come first. Ends at once when the server stops.
    """
    told: dict[type, Seen] = {Progress: Progress({}), Throttled: Throttled("")}
    while not asking.stopping.is_set():
        async for at, seen in _seen(asking, run, place):
            place = at
            if told.get(type(seen)) != seen and not _empty(seen):
                told[type(seen)] = seen
                told.pop(_UNTOLD.get(type(seen), Ended), None)
                yield place or Place(0, ""), seen
            if isinstance(seen, Ended):
                return
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await asking.stopping.wait()


_UNTOLD: Mapping[type, type] = {Away: RunState, RunState: Away}
"""What is told again after something else was told."""


def _empty(seen: Seen) -> bool:
    return isinstance(seen, LogLines) and not (seen.page.lines or seen.page.missed or seen.note)


async def _seen(asking: Asking, run: Run, place: Place | None) -> AsyncIterator[tuple[Place | None, Seen]]:
    """Look once, and yield all that there is to see."""
    try:
        look = await asking.shared(("watch", run.database, run.run_id), partial(_look, asking, run), POLL / 2)
    except DatabaseError as error:
        yield place, Away(error.message)
        return
    if look is None:
        yield place, Ended(None)
        return
    for seen in (look.state, look.throttled, look.progress):
        yield place, seen
    async for at, lines in _lines(asking, look, place):
        place = at
        yield place, lines
    if look.over:
        yield place, Ended(look.state)


async def _look(asking: Asking, run: Run) -> _Look | None:
    """Ask how a run stands; None where there is none any more."""
    questions = asking.questions
    page = await questions.past.runs(RunFilter(ids=(run.run_id,)), databases=[run.database], limit=1)
    if not page.runs:
        return None
    (now,) = page.runs
    standing = page.standing(now)
    change = await questions.controls.of(now) if now.origin and standing == RUNNING else None
    state = RunState(
        run_id=now.run_id,
        database=now.database,
        revision=now.revision,
        title=now.title,
        direction=str(now.direction),
        standing=standing,
        effect=str(now.effect),
        reason=now.reason,
        error=now.error,
        started_at=now.started_at,
        finished_at=now.finished_at,
        duration_ms=now.duration_ms,
    )
    told = change.as_dict() if change else dict(now.progress or {})
    return _Look(now, state, Progress(told), Throttled(change.waiting if change else ""))


async def _lines(asking: Asking, look: _Look, place: Place | None) -> AsyncIterator[tuple[Place | None, LogLines]]:
    """Yield what the log has behind a place, by pages: all of it where the run is over."""
    pages = 0
    while look.over or pages < AT_ONCE:
        key = ("log", look.run.database, look.run.run_id, place, look.over)
        try:
            page = await asking.shared(key, partial(_read, asking, look, place), POLL / 2)
        except NoLog as why:
            yield place, LogLines(LogPage(), str(why))
            return
        before, place, pages = place, Place(page.next_offset, page.mark), pages + 1
        yield place, LogLines(page)
        if place == before or (page.next_offset >= page.size and page.size):
            return


async def _read(asking: Asking, look: _Look, place: Place | None) -> LogPage:
    tail = asking.questions.past.tail(look.run, over=look.over)
    if place is None:
        return await asyncio.to_thread(tail.last, Wanted(limit=BEFORE))
    return await asyncio.to_thread(tail.page, place.offset, Wanted(limit=LINES), place.mark)
