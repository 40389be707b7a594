"""The ASGI app: `migrator serve` runs it, and any other application may mount it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from migrator.config import Config
from migrator.core.errors import MigratorError
from migrator.core.journal import Identity
from migrator.dashboard import (
    _problems,
    api_audit,
    api_changes,
    api_databases,
    api_health,
    api_logs,
    api_revisions,
    api_runs,
    api_schedules,
)
from migrator.dashboard._asking import Asking
from migrator.dashboard._identities import Identities
from migrator.dashboard._openapi import Api
from migrator.dashboard._problems import Refusal
from migrator.dashboard.pages import add_pages
from migrator.dashboard.pages_problem import told
from migrator.dashboard.security import Security

ROUTERS = (
    api_health.router,
    api_runs.router,
    api_runs.one,
    api_logs.router,
    api_changes.long,
    api_databases.router,
    api_revisions.router,
    api_changes.router,
    api_schedules.router,
    api_audit.router,
)

Identify = Callable[[Request], Identity | None]
"""Says who asks, for an application that knows its users and mounts this one; None where it does not know."""


def create_app(config: Config, *, root_path: str = "", identify: Identify | None = None) -> FastAPI:
    """Return the app for one configuration. It opens the databases when it starts and closes them when it ends.

    Mounted elsewhere, its lifespan must be run by the application above it (`app.router.lifespan_context`).
    """
    asking = Asking(config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with asking.open():
            yield

    app = Api(
        title="migrator",
        version=version("polymigrator"),
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere; the pages of migrator show the document
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.asking = asking
    app.state.identities = Identities(asking, identify)
    for router in ROUTERS:
        app.include_router(router)
    add_pages(app)
    _refuse(app, config)
    root = root_path.strip("/")
    app.add_middleware(Security, asking=asking, identities=app.state.identities, root_path=f"/{root}" if root else "")
    return app


def _refuse(app: Api, config: Config) -> None:
    mask = config.mask()

    @app.exception_handler(MigratorError)
    async def _(request: Request, error: MigratorError) -> Response:
        return told(request, _problems.of_migrator(error, mask))

    @app.exception_handler(Refusal)
    async def _(request: Request, error: Refusal) -> Response:
        return told(request, _problems.of_refusal(error))

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        allowed = app.allowed(_problems.route_of(request)) if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else ""
        if allowed:  # the routes know only the first of a path
            error.headers = {"Allow": allowed}
        return told(request, _problems.of_http(error))

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        return told(request, _problems.of_validation(error))
