"""The databases: how each stands, and who holds its lock."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import JSONResponse

from migrator.dashboard import _documents as documents
from migrator.dashboard import _reports as reports
from migrator.dashboard._answers import answer
from migrator.dashboard._asked import Act, Ask, Who
from migrator.dashboard._bodies import NO_NUL, UnlockBody
from migrator.dashboard._standing import Standing, reported, standings
from migrator.dashboard._strict import STRICT

router = APIRouter(prefix="/api/databases", tags=["databases"], dependencies=STRICT)

Name = Annotated[str, Path(max_length=100, pattern=NO_NUL, description="A database of the configuration.")]


@router.get("", response_model=reports.Databases)
async def databases(asking: Ask, who: Who) -> JSONResponse:
    """List the databases in short; one that does not answer says why."""
    found = await standings(asking, asking.scope(who))
    return answer(asking, {"databases": [_short(each) for each in found]})


@router.get("/{database}", response_model=reports.Report)
async def database(database: Name, asking: Ask, who: Who) -> JSONResponse:
    """Return how one database stands: every revision with its state, and the long changes."""
    (name,) = asking.scope(who, [database])
    return await asyncio.to_thread(answer, asking, await reported(asking, name))  # there may be thousands of lines


@router.get("/{database}/lock", response_model=reports.Lock)
async def lock(database: Name, asking: Ask, who: Who) -> JSONResponse:
    """Say who holds the lock of a database."""
    (name,) = asking.scope(who, [database])
    holders = await asking.shared(("lock", name), lambda: asking.questions.unlock(databases=[name]))
    return answer(asking, {"database": name, "holder": holders[name]})


@router.delete("/{database}/lock", response_model=documents.Entry)
async def unlock(database: Name, body: UnlockBody, act: Act, asking: Ask) -> JSONResponse:
    """End whoever holds the lock of a database; what they do from here on is refused."""
    return answer(asking, await act(body.confirm).unlock(database, body.reason))


def _short(found: Standing) -> dict[str, object]:
    report = found.report
    return {
        "name": found.name,
        "answers": report is not None,
        "error": found.error.message if found.error else "",
        "kind": report.kind if report else "",
        "address": report.address if report else "",
        "clean": report.clean if report else False,
        "lock": report.lock if report else "",
        "counts": found.counts,
        "changes": len(report.changes) if report else 0,
        "running": [run.run_id for run in found.running],
    }
