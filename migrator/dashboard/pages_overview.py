"""The overview: where every database stands, what runs, what comes, and how the last days went."""

from datetime import timedelta
from functools import partial

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from migrator.core.errors import MigratorError
from migrator.core.runs import RunFilter, RunPage
from migrator.core.schedule import Firing, Schedule
from migrator.dashboard._drawn import Day, strip
from migrator.dashboard._page import Page, Shown
from migrator.dashboard._standing import answering, standings
from migrator.runtime.scheduler import upcoming

router = APIRouter(include_in_schema=False)

DAYS = 14
LATEST = 8
NEXT = 5
SLOWLY = 30.0
"""Seconds for which the strip of days, and the list of the latest runs for three, are given again."""

WIDTH, HEIGHT = 560, 96


@router.get("/")
async def overview(page: Shown) -> HTMLResponse:
    """Show the overview. It asks for itself again every three seconds."""
    names = page.scope()
    found = await standings(page.asking, names)
    there = await answering(page.asking, names)
    days, most = await _days(page, there)
    return page.show(
        "overview.html",
        standings=found,
        latest=await _latest(page, there),
        coming=await _coming(page),
        days=days,
        most=most,
        width=WIDTH,
        height=HEIGHT,
    )


async def _days(page: Page, names: tuple[str, ...]) -> tuple[list[Day], int]:
    first = (page.now - timedelta(days=DAYS - 1)).date()
    ask = partial(page.asking.questions.past.days, f"{first}T00:00:00+00:00", names)
    try:
        counted = await page.asking.shared(("days", names, first), ask, SLOWLY)
    except MigratorError:
        return [], 0
    return strip(counted.since(first, DAYS), WIDTH, HEIGHT)


async def _coming(page: Page) -> list[tuple[str, Schedule, Firing | None]]:
    """Return the next firing of every schedule, the nearest first, for whoever may see all databases."""
    if not page.config.schedules or not page.who.sees(()):
        return []
    try:
        found = await page.asking.shared("firings", page.asking.questions.past.firings)
    except MigratorError:
        found = []
    last = {each.name: each for each in found}
    coming = [
        (at, each, last.get(each.name))
        for each in page.config.schedules
        for at in upcoming(each, page.now, 1, last[each.name].runs if each.name in last else 0)
    ]
    return sorted(coming, key=lambda each: each[0])[:NEXT]


async def _latest(page: Page, names: tuple[str, ...]) -> RunPage:
    ask = partial(page.asking.questions.past.runs, RunFilter(), (), names, limit=LATEST)
    try:
        return await page.asking.shared(("latest", names), ask, 3.0) if names else RunPage(())
    except MigratorError:
        return RunPage(())
