"""What is kept up: schedules, retention with a preview of what it would take, and locks."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Path, Query
from starlette.responses import HTMLResponse, RedirectResponse

from migrator.core.errors import MigratorError
from migrator.core.protocols import Holder
from migrator.core.schedule import Schedule, Task
from migrator.dashboard._page import Acting, Page, Shown
from migrator.dashboard._problems import Refusal
from migrator.dashboard._standing import answering
from migrator.keeping import LONGEST_DAYS
from migrator.runtime.scheduler import upcoming

if TYPE_CHECKING:
    from migrator.core.retention import Cleaned

router = APIRouter(include_in_schema=False)

NEXT = 5
"""How many of the next firings are shown."""

PREVIEW = 15.0
"""Seconds for which a preview of a clean-up is given again."""

Days = Annotated[float | None, Query(ge=0, le=LONGEST_DAYS)]


@router.get("/schedules")
async def schedules(page: Shown) -> HTMLResponse:
    """Show what runs by itself."""
    _of_all(page)
    last = {each.name: each for each in await page.asking.shared("firings", page.asking.questions.past.firings)}
    told = [
        (each, last.get(each.name), upcoming(each, page.now, NEXT, last[each.name].runs if each.name in last else 0))
        for each in page.config.schedules
    ]
    return page.show("schedules.html", schedules=told)


@router.post("/schedules/{name}/run")
async def run_now(page: Shown, act: Acting, name: Annotated[str, Path(max_length=100)]) -> RedirectResponse:
    """Do now what a schedule does."""
    _of_all(page)
    found: Schedule | None = next((each for each in page.config.schedules if each.name == name), None)
    if found is None:
        raise Refusal(404, f"there is no schedule {name!r}")
    if found.task is Task.CLEANUP:
        entry = await act.cleanup()
    elif found.task is Task.VERIFY:
        entry = await act.verify(tags=found.tags)
    else:
        entry = await act.run(found.scripts, tags=found.tags, params=found.params)
    return page.go(f"/audit/{entry.entry_id}")


def _of_all(page: Page) -> None:
    """Raise Refusal unless the caller may see all databases, which is what schedules are about."""
    if not page.who.sees(()):
        raise Refusal(403, f"schedules are about all databases, and {page.who.name} may see only some")


@router.get("/retention")
async def retention(page: Shown, days: Days = None) -> HTMLResponse:
    """Show the rules, and what they would take away now."""
    names = page.scope()
    everywhere = set(names) == set(page.config.databases)
    preview: Cleaned | None = None
    error: MigratorError | None = None

    async def ask() -> Any:
        return await page.asking.aside(
            lambda migrator: migrator.past.cleanup(days, () if everywhere else names, dry_run=True)
        )

    try:
        preview = await page.asking.shared(("preview", days, names), ask, PREVIEW)
    except MigratorError as wrong:
        error = wrong
    there = await answering(page.asking, names)
    count, taken = await asyncio.to_thread(page.asking.questions.past.storage)
    entries = await page.asking.questions.journal.entries(action="cleanup", limit=10)
    return page.show(
        "retention.html",
        rules=page.config.retention,
        days=days,
        preview=preview,
        error=error,
        files=count,
        taken=taken,
        entries=[each for each in entries if page.who.sees(each.databases)],
        cleaners=await page.asking.shared(("cleaners", there), lambda: page.asking.questions.past.cleaners(there)),
    )


@router.post("/retention")
async def clean_up(
    page: Shown, act: Acting, days: Annotated[str, Form(max_length=20, pattern=r"^[0-9]*(\.[0-9]+)?$")] = ""
) -> RedirectResponse:
    """Begin to take away what is not kept."""
    entry = await act.cleanup(min(float(days), LONGEST_DAYS) if days else None)
    return page.go(f"/audit/{entry.entry_id}")


@router.get("/locks")
async def locks(page: Shown) -> HTMLResponse:
    """Show who holds the locks."""
    names = page.scope()
    there = await answering(page.asking, names)
    found = dict(zip(there, await asyncio.gather(*(_holder(page, name) for name in there)), strict=True))
    return page.show("locks.html", names=names, locks=found)


async def _holder(page: Page, name: str) -> Holder | None:
    ask = page.asking.questions.unlock
    return (await page.asking.shared(("lock", name), lambda: ask(databases=[name])))[name]


@router.post("/locks/{database}")
async def unlock(
    page: Shown,
    act: Acting,
    database: Annotated[str, Path(max_length=100)],
    reason: Annotated[str, Form(max_length=1000)] = "",
) -> RedirectResponse:
    """End whoever holds a lock."""
    entry = await act.unlock(database, reason.strip())
    return page.go(f"/audit/{entry.entry_id}")
