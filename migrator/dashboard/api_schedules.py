"""What runs by itself, when it will, and how it went the last time."""

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.responses import JSONResponse

from migrator.dashboard import _reports as reports
from migrator.dashboard._answers import answer
from migrator.dashboard._asked import Ask, Who
from migrator.dashboard._problems import Refusal
from migrator.dashboard._strict import STRICT
from migrator.runtime.scheduler import upcoming

router = APIRouter(prefix="/api/schedules", tags=["schedules"], dependencies=STRICT)

NEXT = 5
"""How many of the next firings are told."""


@router.get("", response_model=reports.Schedules)
async def schedules(asking: Ask, who: Who) -> JSONResponse:
    """List the schedules, for whoever may see all databases: they are about all of them."""
    if not who.sees(()):
        raise Refusal(403, f"schedules are about all databases, and {who.name} may see only some")
    last = {each.name: each for each in await asking.shared("firings", asking.questions.past.firings)}
    now = datetime.now(UTC)
    told = []
    for schedule in asking.config.schedules:
        fired = last.get(schedule.name)
        shown = {name: value for name, value in vars(schedule).items() if name != "params"}  # they may be secrets
        times = upcoming(schedule, now, NEXT, fired.runs if fired else 0)
        told.append({**shown, "next": times, "last": fired})
    return answer(asking, {"schedules": told})
