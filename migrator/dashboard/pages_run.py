"""One run: its way, its log as it comes, and what can be done about it."""

import asyncio
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Form, Query
from starlette.responses import HTMLResponse, RedirectResponse, Response

from migrator.core.logs import LEVELS
from migrator.core.run import Run
from migrator.core.runs import RUNNING, RunPage, live
from migrator.dashboard._found import Found
from migrator.dashboard._page import Acting, Page, Shown
from migrator.dashboard._watching import Place
from migrator.dashboard._way import meaning, spent, way
from migrator.dashboard.api_logs import Level, LogAsked, download
from migrator.runtime.logfiles import NoLog
from migrator.runtime.logtail import LogPage, LogTail, Wanted

router = APIRouter(include_in_schema=False)

LINES = 1000
"""How many lines of a log a page shows at first; as many come to it before the first ones go."""

SOUGHT = 24
"""How many times a few megabytes are looked through for the first error."""

Search = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]


class LogAt(NamedTuple):
    """Some lines of a log for a page. `following` is the place from which it goes on by itself, "" where it does not.

    `before` is where to look for earlier lines (-1: there are none), `behind` for later ones.
    """

    page: LogPage
    note: str = ""
    kept: tuple[str, ...] = ()
    following: str = ""
    before: int = -1
    behind: int = -1


class LogForm(NamedTuple):
    """What the form over the log says."""

    level: Level = "DEBUG"
    q: str = ""


@router.get("/runs/{run_id}")
async def run(
    page: Shown,
    found: Found,
    level: Level = "DEBUG",
    q: Search = "",
    at: Annotated[int | Literal["error"] | None, Query()] = None,
    before: Annotated[int | None, Query(ge=0, le=1 << 53)] = None,
) -> HTMLResponse:
    """Show a run, and go on showing it while it is at work."""
    (one,) = found.runs
    form = LogForm(level, q)
    over = found.standing(one) != RUNNING
    tail = page.asking.questions.past.tail(one, over=over)
    log = await asyncio.to_thread(_log, tail, one, form, at, before)
    return page.show(
        "run.html", **told(page, found), log=log, form=form, levels=LEVELS, at=at, before=before, limit=LINES
    )


def told(page: Page, found: RunPage) -> dict[str, Any]:
    """Return what the templates need to know of a run."""
    (one,) = found.runs
    standing = found.standing(one)
    return {
        "run": one,
        "standing": standing,
        "way": way(one, standing),
        "meaning": meaning(one, standing),
        "spent": spent(one, page.now),
        "live": live(one),
        "loops": (one.progress or {}).get("loops", ()),
    }


def _log(tail: LogTail, run: Run, form: LogForm, at: int | str | None, before: int | None) -> LogAt:
    """Return the end of a log, or what is around a place in it. Reads a file; see LogTail for how much of it."""
    wanted = Wanted(LINES, form.level, form.q)
    try:
        if at == "error":
            at = _first_error(tail)
        if isinstance(at, int) and at >= 0:
            page = tail.page(at, wanted)
            behind = page.next_offset if page.next_offset < page.size else -1
            return LogAt(page, before=at or -1, behind=behind)
        page = tail.last(wanted, -1 if before is None else before)
        behind = -1 if before is None else before
        following = str(Place(page.next_offset, page.mark)) if before is None else ""
        return LogAt(page, following=following, before=page.start or -1, behind=behind)
    except NoLog as why:
        return LogAt(LogPage(), str(why), tuple((run.result or {}).get("log", ())), "0." if not tail.over else "")


def _first_error(tail: LogTail) -> int:
    """Return the place of the first error in the newest file of a log, or how far it was looked for; -1: none."""
    place, wanted = 0, Wanted(1, "ERROR")
    for _ in range(SOUGHT):
        page = tail.page(place, wanted)
        if page.lines:
            return page.lines[0].offset
        if page.next_offset >= page.size or page.next_offset == place:
            return -1
        place = page.next_offset
    return place


@router.get("/runs/{run_id}/log.txt")
async def log(page: Shown, found: Found, level: Level = "DEBUG", q: Search = "") -> Response:
    """Send the whole log as a file."""
    return await download(page.asking, found.runs[0], LogAsked(level=level, q=q))


@router.post("/runs/{run_id}/resolve")
async def resolve(
    page: Shown,
    act: Acting,
    found: Found,
    decision: Annotated[str, Form(max_length=100)] = "",
    reason: Annotated[str, Form(max_length=1000)] = "",
) -> RedirectResponse:
    """Record what a person decided about what a run left."""
    entry = await act.resolve(found.runs[0].run_id, decision, reason)
    return page.go(f"/audit/{entry.entry_id}")


@router.post("/runs/{run_id}/delete")
async def delete(page: Shown, act: Acting, found: Found) -> RedirectResponse:
    """Delete a run with its log."""
    entry = await act.delete_run(found.runs[0].run_id)
    return page.go(f"/audit/{entry.entry_id}")
