"""What would be done, and the one button that does it: upgrade, and roll back. Looking at a plan changes nothing."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Form, Query
from starlette.responses import HTMLResponse, RedirectResponse

from migrator.core.errors import DatabaseError, MigratorError
from migrator.core.outcome import Outcome
from migrator.core.plan import Plan
from migrator.core.revision import Direction
from migrator.dashboard._actions import Actions
from migrator.dashboard._page import Acting, Page, Shown
from migrator.dashboard._problems import Refusal
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
    await _refuse_another(page, act, Direction.UPGRADE, database, target, seen)
    entry = await act.upgrade([target], [database])
    return page.go(f"/audit/{entry.entry_id}")


@router.post("/rollback")
async def begin_rollback(page: Shown, act: Acting, database: Sent, target: Sent, seen: Sent) -> RedirectResponse:
    """Begin to roll back as it was shown."""
    await _refuse_another(page, act, Direction.DOWNGRADE, database, target, seen)
    entry = await act.downgrade([target], [database])
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
        seen=_mark(outcome.plan) if outcome else "",
        applied=report.having("applied", "drifted", "unknown")[::-1][:LISTED],
        pending=report.having("pending", "interrupted")[:LISTED],
    )


async def _refuse_another(
    page: Page, act: Actions, direction: Direction, database: str, target: str, seen: str
) -> None:
    """Raise Refusal where what would be done now is not what was shown: somebody else has been there meanwhile."""
    page.need("operator", database)
    outcome: Outcome = await act.plan(direction, [target], [database])
    if _mark(outcome.plan) != seen:
        raise Refusal(
            409,
            "the plan is not the one that was shown: somebody else changed the database or the files meanwhile",
            hint="Go back, reload the page, and look at the plan as it is now.",
        )


def _mark(plan: Plan) -> str:
    """Return what tells a plan from another."""
    steps: Sequence[str] = [f"{each.key} {each.direction} {each.revision.checksum}" for each in plan.steps]
    return sha256("\n".join(steps).encode()).hexdigest()[:32]
