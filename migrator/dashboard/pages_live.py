"""What changes on the page of a run while it is at work: events that carry pieces of the page.

A browser that comes back after a while gets the end of the log anew, in place of what it has.
"""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from migrator.core.errors import MigratorError
from migrator.core.logs import LEVELS
from migrator.core.run import Run
from migrator.core.runs import RunPage
from migrator.dashboard._found import Found
from migrator.dashboard._page import Page, Shown
from migrator.dashboard._watching import PLACE, Away, Ended, LogLines, Place, Seen, watch
from migrator.dashboard.api_logs import Level
from migrator.dashboard.pages_run import LINES, LogForm, Search, told
from migrator.runtime.logtail import Line

router = APIRouter(include_in_schema=False)

FIRST = "log-first"
"""The lines that came with the page itself."""

After = Annotated[str, Query(pattern=rf"{PLACE}|^0\.$|^$")]


class Piece(NamedTuple):
    """Lines that were sent together, and can be taken away together."""

    name: str
    lines: int


class Scroll:
    """Which pieces of a log a page has: no more than so many lines beside those it came with, and then none of them."""

    def __init__(self, have: int) -> None:
        self._pieces = deque([Piece(FIRST, have)])
        self._sum = have
        self._number = 0

    def add(self, lines: int) -> tuple[str, Sequence[str]]:
        """Return the name of a new piece, and the names of those that go."""
        self._number += 1
        piece, gone = Piece(f"log-{self._number}", lines), list[str]()
        self._pieces.append(piece)
        self._sum += lines
        while self._sum > 2 * LINES and len(self._pieces) > 1:
            old = self._pieces.popleft()
            self._sum -= old.lines
            gone.append(old.name)
        return piece.name, gone


@router.get("/runs/{run_id}/live", response_class=EventSourceResponse)
async def live(
    page: Shown,
    found: Found,
    after: After = "",
    level: Level = "DEBUG",
    q: Search = "",
    have: Annotated[int, Query(ge=0, le=10 * LINES)] = 0,
    last_event_id: Annotated[str, Header(pattern=rf"{PLACE}|^$")] = "",
) -> AsyncIterator[ServerSentEvent]:
    """Send what changes on the page of a run."""
    (run,) = found.runs
    form, scroll = LogForm(level, q), Scroll(0 if last_event_id else have)
    begin = Place.parse(after) if after not in ("", "0.") and not last_event_id else None
    if last_event_id:
        yield _sent("live_anew.html", page, "", first=FIRST)
    async for place, seen in watch(page.asking, run, begin):
        if isinstance(seen, LogLines):
            lines = _wanted(seen.page.lines, form)
            if lines or seen.page.missed or seen.note:
                name, gone = scroll.add(len(lines))
                yield _sent("live_log.html", page, place, lines=lines, seen=seen, name=name, gone=gone, q=form.q)
        else:
            yield _sent("live_run.html", page, place, **await _state(page, run, seen))
        if isinstance(seen, Ended):
            yield ServerSentEvent(event="end", raw_data="over")


async def _state(page: Page, run: Run, seen: Seen) -> dict[str, object]:
    away = seen.message if isinstance(seen, Away) else ""
    try:
        found = await page.asking.shared(("run", run.run_id), lambda: _again(page, run), 0.5)
    except MigratorError as error:
        return {"away": away or error.message, "run": None}
    return {**told(page, found), "away": away, "over": isinstance(seen, Ended)}


async def _again(page: Page, run: Run) -> RunPage:
    return await page.asking.questions.past.run(run.run_id, [run.database])


def _wanted(lines: Sequence[Line], form: LogForm) -> list[Line]:
    allowed, sought = LEVELS[LEVELS.index(form.level) :], form.q.casefold()
    return [each for each in lines if (not each.level or each.level in allowed) and sought in each.text.casefold()]


def _sent(template: str, page: Page, place: Place | str, **values: object) -> ServerSentEvent:
    return ServerSentEvent(raw_data=page.text(template, **values), id=str(place) or None)
