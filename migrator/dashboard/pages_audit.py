"""Who asked for what, and what became of it; one entry as it goes on, with its runs."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import HTMLResponse

from migrator.core.errors import MigratorError
from migrator.core.journal import RUNNING, Entry
from migrator.core.runs import RunFilter, RunPage
from migrator.dashboard._page import Page, Shown
from migrator.dashboard._problems import Refusal
from migrator.dashboard._standing import Standing, standings

router = APIRouter(include_in_schema=False)

PAGE, PAGES = 50, 10
"""How many entries a page has, and how often as many are read for callers who may see only some of them."""

RUNS = 100
"""How many runs of an entry are shown."""

AT_LENGTH = ("upgrade", "downgrade", "verify", "run", "retry-failed")
"""Actions that make runs."""


@router.get("/audit")
async def audit(
    page: Shown,
    after: Annotated[str, Query(pattern="^[0-9A-Za-z]{0,64}$")] = "",
    action: Annotated[str, Query(max_length=100, pattern=r"^[^\x00]*$")] = "",
) -> HTMLResponse:
    """List who asked for what, newest first."""
    found, behind = await _entries(page, action, after)
    return page.show("audit.html", entries=found, after=after, behind=behind, action=action)


async def _entries(page: Page, action: str, after: str) -> tuple[list[Entry], str]:
    """Return a page of what the caller may see, and what asks for the next one."""
    found: list[Entry] = []
    for _ in range(PAGES):
        some = await page.asking.questions.journal.entries(action=action, after=after, limit=PAGE + 1)
        found += [each for each in some[:PAGE] if page.who.sees(each.databases)]
        if len(some) <= PAGE:
            return found[:PAGE], ""
        after = some[PAGE - 1].entry_id
        if len(found) >= PAGE:
            break
    return found[:PAGE], found[PAGE - 1].entry_id if len(found) > PAGE else after


@router.get("/audit/{entry_id}")
async def entry(page: Shown, entry_id: Annotated[str, Path(pattern="^[0-9A-Za-z]{1,64}$")]) -> HTMLResponse:
    """Show an entry; while it is going on the page asks for itself again every second."""
    asked = page.asking.questions.journal
    found = await page.asking.shared(("entry", entry_id), lambda: asked.entry(entry_id), 0.5)
    if not page.who.sees(found.databases):
        raise Refusal(404, f"the audit has no entry {entry_id!r}")
    return page.show("entry.html", entry=found, runs=await _runs(page, found), busy=await _busy(page, found))


async def _runs(page: Page, found: Entry) -> RunPage:
    """Return the runs of an entry: those that it named when it ended, else those of its caller since it began."""
    names = tuple(name for name in found.databases if name in page.scope())
    if found.action not in AT_LENGTH or not names:
        return RunPage(())
    ids = _named(found)
    wanted = RunFilter(ids=ids) if ids else RunFilter(user=found.who, since=found.begun_at, until=found.ended_at)
    try:
        ask = page.asking.questions.past.runs
        return await page.asking.shared(("entry runs", wanted, names), lambda: ask(wanted, (), names, limit=RUNS), 0.5)
    except MigratorError:
        return RunPage(())


def _named(found: Entry) -> tuple[str, ...]:
    """Return the ids of the runs that the result of an entry holds."""
    result = found.result or {}
    rows = [*result.get("runs", ()), *(each.get("run") or {} for each in result.get("scripts", ()))]
    return tuple(str(each["run_id"]) for each in rows if "run_id" in each)[:RUNS]


async def _busy(page: Page, found: Entry) -> tuple[Standing, ...]:
    """Return how the databases of an entry stand that is going on."""
    names = tuple(name for name in found.databases if name in page.scope())
    return await standings(page.asking, names) if found.word == RUNNING and found.action in AT_LENGTH else ()
