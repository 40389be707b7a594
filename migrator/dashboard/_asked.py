"""What a route is given: the app's `Asking`, and who asks, with the role that the route needs."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from migrator.core.journal import Identity, Role
from migrator.dashboard._asking import Asking
from migrator.dashboard._problems import Refusal


def _asking(request: Request) -> Asking:
    found: Asking = request.app.state.asking
    return found


def _needs(role: Role) -> Callable[[Request], Identity]:
    def check(request: Request) -> Identity:
        who: Identity = request.state.identity
        if not who.role.covers(role):
            raise Refusal(
                403,
                f"{who.name} is {who.role}, and this needs {role}",
                hint="Somebody with the role admin makes tokens: `migrator serve token add NAME --role ...`.",
            )
        return who

    return check


Ask = Annotated[Asking, Depends(_asking)]
Viewer = Annotated[Identity, Depends(_needs(Role.VIEWER))]
Operator = Annotated[Identity, Depends(_needs(Role.OPERATOR))]
Admin = Annotated[Identity, Depends(_needs(Role.ADMIN))]


def allow(who: Identity, *databases: str) -> None:
    """Refuse a caller whose role does not hold for these databases, as if they did not exist."""
    if not who.sees(databases):
        raise Refusal(404, f"{who.name} has no database {', '.join(databases)}", hint="GET /api/databases lists them.")
