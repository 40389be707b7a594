"""What a run says, and what happens in it: its log page by page, and its events as they come."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from migrator.core.logs import Threshold
from migrator.core.run import Run
from migrator.core.runs import RUNNING
from migrator.dashboard import _documents as documents
from migrator.dashboard._asked import Ask
from migrator.dashboard._asking import Asking
from migrator.dashboard._bodies import NO_NUL
from migrator.dashboard._found import Found
from migrator.dashboard._plain import plain
from migrator.dashboard._problems import Refusal
from migrator.dashboard._strict import STRICT
from migrator.dashboard._watching import PLACE, Away, Ended, LogLines, Place, Progress, RunState, Seen, watch
from migrator.runtime.logfiles import NoLog
from migrator.runtime.logtail import LogPage, LogTail, Wanted

router = APIRouter(prefix="/scripts/runs/{run_id:run}", tags=["runs"], dependencies=STRICT)

CHUNK = 64 << 10
"""About how much of a log is sent at once."""

FARTHEST = 1 << 53
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class LogAsked(BaseModel):
    """Which lines of a log."""

    offset: Annotated[int, Field(ge=0, le=FARTHEST, description="From this place on, in bytes.")] = 0
    mark: Annotated[str, Field(pattern="^[0-9a-f]{0,8}$", description="The file of that place.")] = ""
    limit: Annotated[int, Field(ge=1, le=5000, description="At most so many lines.")] = 1000
    lastlines: Annotated[
        int | None, Field(ge=1, le=5000, description="The last lines, in place of those from the offset on.")
    ] = None
    before: Annotated[int | None, Field(ge=0, le=FARTHEST, description="The last lines before this place.")] = None
    level: Annotated[Level, Field(description="Of this level or a higher one.")] = "DEBUG"
    q: Annotated[str, Field(max_length=200, pattern=NO_NUL, description="With this text, whatever its case.")] = ""


@router.get(
    "/log",
    response_model=documents.LogPage,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The lines."}},
)
async def log(found: Found, asked: Annotated[LogAsked, Query()], asking: Ask, request: Request) -> Response:
    """Return some lines of a run's log; with `Accept: text/plain`, all of it that `level` and `q` let through.

    A call looks through a few megabytes at most, so that a page may be empty though more comes: ask on with
    `next_offset` and `mark` until it is `complete`, or there is nothing new.
    """
    (run,) = found.runs
    accept = request.headers.get("accept", "")
    if "text/plain" in accept and "json" not in accept:
        return await download(asking, run, asked)
    tail = asking.questions.past.tail(run, over=found.standing(run) != RUNNING)
    try:
        page, note, kept = await asyncio.to_thread(_page, tail, asked), "", []
    except NoLog as why:
        page, note, kept = LogPage(complete=tail.over), str(why), (run.result or {}).get("log", [])
    return JSONResponse(plain({**_told(page, note), "kept": kept}, asking.config.mask()))


def _page(tail: LogTail, asked: LogAsked) -> LogPage:
    wanted = Wanted(asked.lastlines or asked.limit, asked.level, asked.q)
    if asked.lastlines is not None:
        return tail.last(wanted, -1 if asked.before is None else asked.before)
    return tail.page(asked.offset, wanted, asked.mark)


async def download(asking: Asking, run: Run, asked: LogAsked) -> Response:
    """Return all lines of a log that are wanted, as a file. Raises Refusal (404) where there is none."""
    try:
        lines = await asyncio.to_thread(asking.questions.past.log, run)
    except NoLog as why:
        raise Refusal(404, str(why)) from None
    threshold, sought = Threshold(asked.level), asked.q.casefold()
    chosen = (line for line in lines if threshold.lets(line) and sought in line.casefold())
    headers = {"content-disposition": f'attachment; filename="{run.log_file}"'}
    return StreamingResponse(_chunks(chosen), media_type="text/plain", headers=headers)


def _chunks(lines: Iterable[str]) -> Iterator[bytes]:
    """Yield lines in pieces that are worth sending; each is read in a thread."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line.encode("utf-8", "replace"))
        size += len(line)
        if size > CHUNK:
            yield b"\n".join([*held, b""])
            held, size = [], 0
    if held:
        yield b"\n".join([*held, b""])


@router.get("/events", response_class=EventSourceResponse)
async def events(
    found: Found,
    asking: Ask,
    after: Annotated[str, Query(pattern=rf"{PLACE}|^$", description="The id of the last event that was seen.")] = "",
    last_event_id: Annotated[str, Header(pattern=rf"{PLACE}|^$")] = "",
) -> AsyncIterator[ServerSentEvent]:
    """Follow a run: `state`, `progress`, `throttled`, `log`, `away` (the database does not answer), and `end`.

    The id of an event is a place in the log: whoever comes back with it gets the lines that came after it.
    """
    (run,) = found.runs
    seen = last_event_id or after
    async for place, told in watch(asking, run, Place.parse(seen) if seen else None):
        name, value = _event(told)
        yield ServerSentEvent(event=name, id=str(place), data=plain(value, asking.config.mask()))


def _event(seen: Seen) -> tuple[str, Any]:
    """Return the name of an event, and what it tells."""
    if isinstance(seen, RunState):
        return "state", seen
    if isinstance(seen, Progress):
        return "progress", seen.told
    if isinstance(seen, LogLines):
        return "log", _told(seen.page, seen.note)
    if isinstance(seen, Away):
        return "away", seen
    if isinstance(seen, Ended):
        return "end", seen.state or {}
    return "throttled", seen


def _told(page: LogPage, note: str) -> dict[str, Any]:
    return {**vars(page), "note": note}
