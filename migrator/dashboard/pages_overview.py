"""The overview: where every database stands, what runs, what comes, and how the last days went."""

from datetime import timedelta
from functools import partial

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from migrator.core.errors import MigratorError
from migrator.core.runs import RunFilter, RunPage
from migrator.dashboard._drawn import Day, strip
from migrator.dashboard._page import Page, Shown
from migrator.dashboard._standing import answering, standings

router = APIRouter(include_in_schema=False)

DAYS = 14
LATEST = 8
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
        days=days,
        most=most,
        width=WIDTH,
        height=HEIGHT,
    )


async def _days(page: Page, names: tuple[str, ...]) -> tuple[list[Day], int]:
    first = (page.now - timedelta(days=DAYS - 1)).date()
    ask = partial(page.asking.migrator.past.days, f"{first}T00:00:00+00:00", names)
    try:
        counted = await page.asking.shared(("days", names, first), ask, SLOWLY)
    except MigratorError:
        return [], 0
    return strip(counted.since(first, DAYS), WIDTH, HEIGHT)


async def _latest(page: Page, names: tuple[str, ...]) -> RunPage:
    ask = partial(page.asking.migrator.past.runs, RunFilter(), (), names, limit=LATEST)
    try:
        return await page.asking.shared(("latest", names), ask, 3.0) if names else RunPage(())
    except MigratorError:
        return RunPage(())
