"""What changes databases: plans of it, what begins it, and what is asked of long changes while they run.

Whatever takes long is begun and answered at once with 202: its entry in the audit tells how it ends.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.requests import Request
from starlette.responses import JSONResponse

from migrator.core.agreement import mark
from migrator.core.revision import Direction
from migrator.dashboard import _bodies as bodies
from migrator.dashboard import _documents as documents
from migrator.dashboard import _reports as reports
from migrator.dashboard._answers import answer, begun
from migrator.dashboard._asked import Act, Ask, Who
from migrator.dashboard._found import Found
from migrator.dashboard._strict import STRICT

router = APIRouter(prefix="/api", tags=["changes"], dependencies=STRICT)
long = APIRouter(prefix="/scripts/runs/{run_id:run}", tags=["long changes"], dependencies=STRICT)

BEGUN: dict[str, Any] = {"status_code": 202, "response_model": documents.Entry, "response_description": "Begun."}
DONE: dict[str, Any] = {"response_model": documents.Entry, "response_description": "Done."}
Why = Annotated[bodies.ReasonBody, Body()]
NO_REASON = bodies.ReasonBody()


@router.post("/plan", response_model=reports.Plan)
async def plan(body: bodies.PlanBody, act: Act, asking: Ask) -> JSONResponse:
    """Return the steps that an upgrade or a downgrade would take now. Nothing is executed but one batch of each long
    change, to tell how long it will take, and that is rolled back.
    """
    outcome = await act("").plan(Direction(body.direction), body.targets, body.databases)
    told = outcome.as_dict()
    return answer(
        asking,
        {
            "steps": told["plan"],
            "notes": told["notes"],
            "forecasts": told.get("forecasts", []),
            "mark": mark(outcome.plan),
        },
    )


@router.post("/upgrade", **BEGUN)
async def upgrade(body: bodies.UpgradeBody, request: Request, act: Act) -> JSONResponse:
    """Begin to apply revisions up to the targets."""
    return begun(request, await act("").upgrade(body.targets, body.databases, body.agreed))


@router.post("/downgrade", **BEGUN)
async def downgrade(body: bodies.DowngradeBody, request: Request, act: Act) -> JSONResponse:
    """Begin to take revisions down to the targets."""
    return begun(request, await act(body.confirm).downgrade(body.targets, body.databases, body.agreed))


@router.post("/verify", **BEGUN)
async def verify(body: bodies.VerifyBody, request: Request, act: Act) -> JSONResponse:
    """Begin to ask the verify of what is applied."""
    return begun(request, await act("").verify(body.targets, body.databases, body.tags))


@router.post("/run", **BEGUN)
async def run(body: bodies.RunBody, request: Request, act: Act) -> JSONResponse:
    """Begin to run scripts."""
    actions = act(body.confirm)
    entry = await actions.run(
        body.names, tags=body.tags, params=body.params, databases=body.databases, force=body.force
    )
    return begun(request, entry)


@router.get("/changes", response_model=documents.Changes)
async def changes(asking: Ask, who: Who) -> JSONResponse:
    """List every long change that runs, or that stopped on its way."""
    scope = asking.scope(who)
    found = await asking.shared(("changes", scope), lambda: asking.questions.controls.changes(scope))
    return answer(asking, {"changes": found})


@long.post("/pause", **DONE)
async def pause(found: Found, act: Act, asking: Ask, body: Why = NO_REASON) -> JSONResponse:
    """Let a long change stand still after the batch it is at. It keeps its lock meanwhile."""
    return answer(asking, await act("").pause(found.runs[0].run_id, body.reason))


@long.post("/resume", **DONE)
async def resume(found: Found, act: Act, asking: Ask, body: Why = NO_REASON) -> JSONResponse:
    """Let a long change go on that was paused or cancelled."""
    return answer(asking, await act("").resume(found.runs[0].run_id, body.reason))


@long.post("/cancel", **DONE)
async def cancel(found: Found, act: Act, asking: Ask, body: bodies.CancelBody) -> JSONResponse:
    """End a long change after the batch it is at. What it did stays, and nobody goes on until `resume`."""
    return answer(asking, await act("").cancel(found.runs[0].run_id, body.reason))


@long.post("/tune", **DONE)
async def tune(found: Found, act: Act, asking: Ask, body: bodies.TuneBody) -> JSONResponse:
    """Change settings of a long change while it runs."""
    return answer(asking, await act("").tune(found.runs[0].run_id, body.settings.words()))


@long.post("/resolve", **DONE)
async def resolve(found: Found, act: Act, asking: Ask, body: bodies.ResolveBody) -> JSONResponse:
    """Record what a person decided about a run that left something behind."""
    return answer(asking, await act(body.confirm).resolve(found.runs[0].run_id, body.decision, body.reason))


@long.post("/retry-failed", **BEGUN)
async def retry_failed(found: Found, request: Request, act: Act) -> JSONResponse:
    """Begin to take the rows that a long change passed over once more."""
    return begun(request, await act("").retry_failed(found.runs[0].run_id))
