"""The runs: listed, shown, counted, deleted, cleaned up."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import JSONResponse

from migrator.core.batch import FailedRow
from migrator.core.change import Change
from migrator.core.revision import Direction
from migrator.core.run import Run
from migrator.core.runs import RunFilter, RunPage, moment
from migrator.core.schedule import Task
from migrator.dashboard import _documents as documents
from migrator.dashboard._answers import answer, begun
from migrator.dashboard._asked import Act, Ask, Who
from migrator.dashboard._bodies import NO_NUL, CleanupBody, DeleteBody
from migrator.dashboard._found import Found
from migrator.dashboard._strict import STRICT
from migrator.runtime.logfiles import NoLog
from migrator.runtime.scheduler import upcoming

router = APIRouter(prefix="/scripts/runs", tags=["runs"], dependencies=STRICT)
one = APIRouter(prefix="/scripts/runs/{run_id:run}", tags=["runs"], dependencies=STRICT)

COUNTED = 5.0
"""Seconds for which statistics, and what a clean-up would delete, are told again."""

FAILURES = 100
"""How many of the rows that a long change passed over are told one by one."""

Standing = Literal["pending", "success", "failed", "rolled_back", "running", "interrupted"]


def _moment(text: str) -> str:
    return moment(text, datetime.now(UTC)) if text else ""


Moment = Annotated[
    str,
    Field(max_length=40, description="A date, a time (in UTC where it has no zone), or how long ago: 7d, 12h."),
    AfterValidator(_moment),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date"},
                {"type": "string", "format": "date-time"},
                {"type": "string", "pattern": "^([0-9]{1,5}d)?([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$"},
                {"const": "0"},
            ]
        }
    ),
]
Name = Annotated[str, Field(max_length=200, pattern=NO_NUL)]


class Asked(BaseModel):
    """Which runs. Every name narrows them; what is left out may be anything."""

    script: Annotated[
        str, Field(alias="scriptId", pattern="^[A-Za-z0-9_]{0,64}$", description="A revision, or how its id begins.")
    ] = ""
    status: list[Standing] = []
    since: Annotated[Moment, Field(alias="startDate", description="Begun then or later.")] = ""
    until: Annotated[Moment, Field(alias="endDate", description="Begun before then.")] = ""
    database: list[Name] = []
    user: Name = ""
    host: Name = ""
    direction: Literal["upgrade", "downgrade"] | None = None

    def filter(self) -> RunFilter:
        """Return it as the trackers understand it."""
        return RunFilter(
            script=self.script,
            direction=Direction(self.direction) if self.direction else None,
            user=self.user,
            host=self.host,
            since=self.since,
            until=self.until,
        )


class Listed(Asked):
    """Which runs, and which page of them."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    after: Annotated[
        str, Field(pattern="^[0-9A-Za-z]{0,64}$", description="Go on behind the last run of the page before.")
    ] = ""


@router.get("", response_model=documents.RunPage)
async def runs(asked: Annotated[Listed, Query()], asking: Ask, who: Who) -> JSONResponse:
    """List runs of all databases, superseded ones too, newest first: without their text and their last log lines."""
    scope = asking.scope(who, asked.database)
    words = tuple(asked.status)

    async def ask() -> RunPage:
        past = asking.questions.past
        return await past.runs(asked.filter(), words, scope, limit=asked.limit, after=asked.after)

    page = await asking.shared(("runs", asked.filter(), words, scope, asked.limit, asked.after), ask)
    return answer(asking, {"runs": [_listed(run, page) for run in page.runs], "after": page.after})


@router.get("/statistics", response_model=documents.Statistics)
async def statistics(asked: Annotated[Asked, Query()], asking: Ask, who: Who) -> JSONResponse:
    """Count the runs that the trackers still have: all together, by month, by script, and failures by class."""
    scope, wanted, words = asking.scope(who, asked.database), asked.filter(), tuple(asked.status)
    key = ("statistics", wanted, words, scope)
    return answer(asking, await asking.shared(key, lambda: asking.questions.past.stats(wanted, scope, words), COUNTED))


@router.post(
    "/cleanup", response_model=documents.Cleaned, responses={202: {"model": documents.Entry, "description": "Begun."}}
)
async def clean_up(body: CleanupBody, request: Request, act: Act, asking: Ask, who: Who) -> JSONResponse:
    """Begin to delete the runs and logs that [retention] does not keep; with `dryRun`, say at once what would go."""
    if not body.dry_run:
        return begun(request, await act(body.confirm).cleanup(body.days))
    scope = asking.scope(who)
    everywhere = set(scope) == set(asking.config.databases)

    async def ask() -> Any:
        return await asking.aside(
            lambda migrator: migrator.past.cleanup(body.days, () if everywhere else scope, dry_run=True)
        )

    return answer(asking, await asking.shared(("cleanup", body.days, scope), ask, COUNTED))


@router.get("/cleanup/status", response_model=documents.CleanupStatus)
async def cleanup_status(asking: Ask, who: Who) -> JSONResponse:
    """Say who cleans up now, how the last clean-up ended that was asked for here, and when a schedule does it next."""
    scope = asking.scope(who)
    running = await asking.shared(("cleaners", scope), lambda: asking.questions.past.cleaners(scope))
    entries = await asking.questions.journal.entries(action="cleanup", limit=50)
    now = datetime.now(UTC)
    schedules = [each for each in asking.config.schedules if each.task is Task.CLEANUP]
    due = sorted(time for each in schedules for time in upcoming(each, now, 1))
    return answer(
        asking,
        {
            "running": running,
            "last": next((each for each in entries if who.sees(each.databases)), None),
            "next": due[0] if due else "",
        },
    )


@one.get("", response_model=documents.WholeRun)
async def run(found: Found, asking: Ask) -> JSONResponse:
    """Return one run in full: its text, its log's size, and the long change that it belongs to."""
    (shown,) = found.runs
    controls = asking.questions.controls

    async def ask() -> tuple[Change | None, list[FailedRow]]:
        return (await controls.of(shown), await controls.failures(shown)) if shown.origin else (None, [])

    change, failures = await asking.shared(("change", shown.database, shown.run_id), ask)
    return answer(
        asking,
        {
            **shown.as_dict(),
            "standing": found.standing(shown),
            "source": shown.source,
            "log": await asyncio.to_thread(_log, asking, shown),
            "change": change,
            "failures": failures[:FAILURES],
            "more_failures": max(len(failures) - FAILURES, 0),
        },
    )


@one.delete("", response_model=documents.Entry)
async def delete(found: Found, act: Act, asking: Ask, body: DeleteBody | None = None) -> JSONResponse:
    """Delete a run with its log, unless it is what the tracker knows of its revision now."""
    return answer(asking, await act(body.confirm if body else "").delete_run(found.runs[0].run_id))


def _listed(run: Run, page: RunPage) -> dict[str, Any]:
    result = {name: value for name, value in run.result.items() if name != "log"} if run.result else run.result
    return {**run.as_dict(), "result": result, "standing": page.standing(run)}


def _log(asking: Ask, run: Run) -> dict[str, Any]:
    try:
        files, note = asking.questions.past.log_files(run), ""
    except NoLog as why:
        files, note = [], str(why)
    older = files[1:]
    return {
        "file": files[0][0] if files else "",
        "size": files[0][1] if files else 0,
        "older": len(older),
        "older_size": sum(size for _, size in older),
        "note": note,
    }
