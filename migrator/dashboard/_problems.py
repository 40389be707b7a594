"""Every refusal as `application/problem+json` (RFC 9457): what happened, what state the data is in, what to do next."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from migrator.core import errors
from migrator.core.errors import MigratorError
from migrator.core.journal import Identity, Role
from migrator.core.secrets import Mask
from migrator.dashboard._plain import plain

if TYPE_CHECKING:
    from starlette.requests import Request

MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[type[MigratorError], int] = {
    errors.TargetNotFound: 404,
    errors.AmbiguousTarget: 409,
    errors.MultipleHeads: 409,
    errors.TargetError: 422,
    errors.UsageError: 422,
    errors.ConfigError: 422,
    errors.RevisionFileError: 409,
    errors.HistoryError: 409,
    errors.PlanRefused: 409,
    errors.LockHeld: 409,
    errors.LockLost: 409,
    errors.TrackerRefused: 409,
    errors.DependencyMissing: 501,
    errors.ConnectionFailed: 503,
    errors.ConnectionLost: 503,
    errors.DatabaseMissing: 503,
    errors.AuthenticationFailed: 503,
    errors.DatabaseError: 502,
    errors.OutcomeUnknown: 502,
}
"""What an error is in HTTP: that of the nearest class above it; 500 where there is none."""


class Refusal(Exception):
    """A call that is refused before anything else looks at it: who asks, what came, and how."""

    def __init__(self, status: int, message: str, *, hint: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.hint = status, message, hint
        self.headers = dict(headers or {})


UNCHECKED = "loopback, while tokens cannot be read"
"""How somebody at this machine is known whose right to change anything cannot be looked up now."""


def lesser(who: Identity, role: Role) -> Refusal:
    """Return what to tell a caller who has not this role (403), or of whom that cannot be said now (503)."""
    if who.via == UNCHECKED:
        return Refusal(
            503,
            "nothing can be started here now: the database that keeps tokens and the audit does not answer",
            hint="`migrator doctor` says why. The command line needs neither, for the databases that answer.",
        )
    return Refusal(403, f"{who.name} is {who.role}, and this needs {role}", hint="Ask somebody with that role.")


def status_of(error: MigratorError) -> int:
    """Return the HTTP status of an error."""
    return next((STATUS[each] for each in type(error).__mro__ if each in STATUS), 500)


def problem(
    status: int, detail: str, *, hint: str = "", headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """Return an answer that says what is wrong."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "hint": hint}
    return JSONResponse({**body, **more}, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def of_migrator(error: MigratorError, mask: Mask) -> JSONResponse:
    """Return an error of the tree, with the fields that `--json` shows."""
    told = plain(error.as_dict(), mask)
    kind, message, hint = told.pop("type"), told.pop("message"), told.pop("hint")
    return problem(status_of(error), message, hint=hint, error=kind, **told)


def of_refusal(error: Refusal) -> JSONResponse:
    """Return a refusal."""
    return problem(error.status, error.message, hint=error.hint, headers=error.headers, state="Nothing was changed.")


def of_http(error: HTTPException) -> JSONResponse:
    """Return what the framework refuses: no such path, no such method, a body that is no JSON."""
    return problem(error.status_code, str(error.detail), headers=error.headers)


def route_of(request: "Request") -> str:
    """Return the path of a call as the routes have it: without where the app is mounted."""
    root, path = str(request.scope.get("root_path", "")), str(request.scope["path"])
    return path[len(root) :] if root and f"{path}/".startswith(f"{root}/") else path


def wants_page(request: "Request") -> bool:
    """Say whether a person with a browser asks, who is to see a page and no JSON."""
    return "text/html" in request.headers.get("accept", "") and not route_of(request).startswith(("/api/", "/scripts/"))


def of_validation(error: Any) -> JSONResponse:
    """Return what is wrong with parameters or a body, each with its place; never the value that was sent."""
    wrong = [{"where": ".".join(map(str, each["loc"])), "what": each["msg"]} for each in error.errors()]
    said = "; ".join(f"{each['where']}: {each['what']}" for each in wrong)
    return problem(422, said, errors=wrong, state="Nothing was changed.")
