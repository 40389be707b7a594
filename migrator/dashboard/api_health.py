"""Is it up, is it ready, and the metrics. Whoever can reach the server may ask the first two."""

from functools import partial

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse

from migrator.dashboard._asked import Ask, Who
from migrator.dashboard._plain import plain

router = APIRouter(tags=["health"])

FRESH = 5.0
"""Seconds for which an answer about the health of the databases is given again."""


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that this server runs. Asks no database."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Something is pending, or a database does not answer."}})
async def readyz(asking: Ask) -> JSONResponse:
    """Say whether an application that needs these revisions may start: 200, or 503 with no more than the words."""
    health = await asking.shared("health", asking.questions.doctor, FRESH)
    body = {"status": health.status, "ready": health.ready}
    return JSONResponse(body, 200 if health.ready else 503)


@router.get("/api/health")
async def health(asking: Ask, who: Who) -> JSONResponse:
    """Return how well every database is: the document of `migrator doctor --json`."""
    found = await asking.shared("health", asking.questions.doctor, FRESH)
    document = plain(found, asking.config.mask())
    scope = asking.scope(who)
    document["databases"] = {name: each for name, each in document["databases"].items() if name in scope}
    return JSONResponse(document)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(asking: Ask, who: Who) -> PlainTextResponse:
    """Return where every database stands, in the text format of Prometheus."""
    scope = asking.scope(who)
    text = await asking.shared(("metrics", scope), partial(asking.metrics, scope), FRESH)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")
