"""What would be done, and the one button that does it: upgrade, and roll back. Looking at a plan changes nothing.

What was shown is what runs: where the plan is another one under the lock, it is refused.
"""

from typing import Annotated

from fastapi import APIRouter, Form, Query
from starlette.responses import HTMLResponse, RedirectResponse

from migrator.core.agreement import mark
from migrator.core.errors import DatabaseError, MigratorError
from migrator.core.revision import Direction
from migrator.dashboard._page import Acting, Page, Shown
from migrator.dashboard._standing import reported

router = APIRouter(include_in_schema=False)

LISTED = 200
"""How many steps are shown one by one."""

Asked = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]
Sent = Annotated[str, Form(max_length=200, pattern=r"^[^\x00]*$")]


@router.get("/upgrade")
async def upgrade(page: Shown, database: Asked = "", target: Asked = "") -> HTMLResponse:
    """Show what an upgrade would do."""
    return await _plan(page, Direction.UPGRADE, database, target.strip() or "head")


@router.get("/rollback")
async def rollback(page: Shown, database: Asked = "", target: Asked = "") -> HTMLResponse:
    """Show what rolling back would do."""
    return await _plan(page, Direction.DOWNGRADE, database, target.strip() or "-1")


@router.post("/upgrade")
async def begin_upgrade(page: Shown, act: Acting, database: Sent, target: Sent, seen: Sent) -> RedirectResponse:
    """Begin the upgrade that was shown."""
    entry = await act.upgrade([target], [database], seen)
    return page.go(f"/audit/{entry.entry_id}")


@router.post("/rollback")
async def begin_rollback(page: Shown, act: Acting, database: Sent, target: Sent, seen: Sent) -> RedirectResponse:
    """Begin to roll back as it was shown."""
    entry = await act.downgrade([target], [database], seen)
    return page.go(f"/audit/{entry.entry_id}")


async def _plan(page: Page, direction: Direction, database: str, target: str) -> HTMLResponse:
    (name,) = page.scope(database)[:1]
    page.need("operator", name)
    outcome, error = None, None
    try:
        outcome = await page.actions().plan(direction, [target], [name])
    except MigratorError as refused:
        if isinstance(refused, DatabaseError):
            raise
        error = refused
    steps = outcome.plan.steps if outcome else ()
    report = await reported(page.asking, name)
    return page.show(
        "plan.html",
        direction=direction,
        database=name,
        target=target,
        error=error,
        outcome=outcome,
        steps=steps[:LISTED],
        more=max(len(steps) - LISTED, 0),
        others=[each for each in (outcome.plan.databases() if outcome else ()) if each != name],
        seen=mark(outcome.plan) if outcome else "",
        applied=report.having("applied", "drifted", "unknown")[::-1][:LISTED],
        pending=report.having("pending", "failed", "interrupted")[:LISTED],
    )
