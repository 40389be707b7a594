"""The pages: what people look at. Each asks the same questions as the command line, and none holds anything."""

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from migrator.dashboard import (
    pages_audit,
    pages_change,
    pages_history,
    pages_live,
    pages_login,
    pages_overview,
    pages_plan,
    pages_revision,
    pages_run,
    pages_runs,
    pages_statistics,
    pages_upkeep,
)
from migrator.dashboard._page import STATIC

PAGES = (
    pages_overview,
    pages_history,
    pages_revision,
    pages_runs,
    pages_run,
    pages_live,
    pages_change,
    pages_plan,
    pages_audit,
    pages_upkeep,
    pages_statistics,
    pages_login,
)

YEAR = 31_536_000
"""Seconds for which a file is kept by browsers: its address changes when it does."""


def add_pages(app: FastAPI) -> None:
    """Give an app the pages and their static files."""
    for each in PAGES:
        app.include_router(each.router)
    app.mount("/static", _Files(directory=STATIC), name="static")


class _Files(StaticFiles):
    """Static files that are kept, with an ETag for whoever asks again."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code in (200, 304):
            lasting = b"v=" in scope["query_string"]
            response.headers["cache-control"] = f"public, max-age={YEAR}, immutable" if lasting else "no-cache"
        return response
