"""One revision: its state, its text as it ran and as it is in its file, what it needs, and its runs."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Form, Path
from starlette.responses import HTMLResponse, RedirectResponse

from migrator.core.report import tops
from migrator.core.revision import Key
from migrator.core.runs import RunFilter
from migrator.dashboard._page import Acting, Shown
from migrator.dashboard._revision import found_revision
from migrator.dashboard._standing import reported
from migrator.dashboard._texts import Changed, coloured, compared

router = APIRouter(include_in_schema=False)

NONE: list[str] = []
RUNS = 20
"""How many of its runs are shown."""

Database = Annotated[str, Path(max_length=100)]
Id = Annotated[str, Path(pattern="^[A-Za-z0-9_]{1,64}$")]
Params = Annotated[list[str], Form(max_length=100)]


@router.get("/revisions/{database}/{revision}")
async def revision(page: Shown, database: Database, revision: Id) -> HTMLResponse:
    """Show a revision, or a script beside the order."""
    (name,) = page.scope(database)
    told = await found_revision(page.asking, name, revision)
    mask = page.config.mask()
    stored, source = mask(told.stored), mask(told.source)
    differs = bool(stored and source and stored != source)
    diff: list[Changed] | None = []
    if differs:
        found = await asyncio.to_thread(compared, stored, source, told.line.path)
        diff = None if found is None else list(found)
    runs = await page.asking.questions.past.runs(RunFilter(script=revision), databases=[name], limit=RUNS)
    history = await page.asking.shared("history", page.asking.questions.history)
    key = Key(name, revision)
    seen = set(page.scope())
    return page.show(
        "revision.html",
        line=told.line,
        header=told.header,
        params=told.params,
        source=coloured(source, told.line.path) if source else None,
        stored=coloured(stored, told.line.path) if stored and (differs or not source) else None,
        differs=differs,
        diff=diff,
        runs=runs,
        parents=[each for each in history.parents(key) if each.database in seen] if key in history else [],
        children=[each for each in history.children(key) if each.database in seen] if key in history else [],
        titles={each.key: each.title for each in history},
        script=told.header.is_script,
        tops=tops((await reported(page.asking, name)).lines) if told.line.state == "drifted" else (),
    )


@router.post("/revisions/{database}/{revision}/verify")
async def verify(page: Shown, act: Acting, database: Database, revision: Id) -> RedirectResponse:
    """Ask its verify, and lead to how that goes."""
    entry = await act.verify([f"{database}:{revision}"], [database])
    return page.go(f"/audit/{entry.entry_id}")


@router.post("/revisions/{database}/{revision}/run")
async def run(
    page: Shown, act: Acting, database: Database, revision: Id, names: Params = NONE, values: Params = NONE
) -> RedirectResponse:
    """Run a script, with the parameters of the form; an empty one is left out."""
    params = {name: value for name, value in zip(names, values, strict=False) if value}
    entry = await act.run([revision], params=params, databases=[database])
    return page.go(f"/audit/{entry.entry_id}")
