"""Values as answers: JSON without secrets, and what says that a change was begun."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from migrator.core.journal import Entry
from migrator.dashboard._asking import Asking
from migrator.dashboard._plain import plain


def answer(asking: Asking, value: Any, status: int = 200) -> JSONResponse:
    """Return a value as it is told."""
    return JSONResponse(plain(value, asking.config.mask()), status)


def begun(request: Request, entry: Entry) -> JSONResponse:
    """Return that something long was begun, and where to ask how it goes."""
    asking: Asking = request.app.state.asking
    answered = answer(asking, entry, 202)
    answered.headers["location"] = request.url_for("entry", entry_id=entry.entry_id).path
    return answered
