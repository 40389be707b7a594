"""What a route is given: the app's `Asking`, and who asks."""

import json
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header
from starlette.requests import Request

from migrator.core.journal import Identity
from migrator.dashboard._actions import Actions, Caller
from migrator.dashboard._asking import Asking


async def _asking(request: Request) -> Asking:
    found: Asking = request.app.state.asking
    return found


async def _identity(request: Request) -> Identity:
    who: Identity = request.state.identity
    return who


async def _actions(
    request: Request,
    asking: Annotated[Asking, Depends(_asking)],
    idempotency_key: Annotated[str, Header(max_length=200)] = "",
) -> Callable[[str], Actions]:
    address = request.client.host if request.client else ""
    body = _canonical(await request.body()) if idempotency_key else ""

    def actions(confirm: str = "") -> Actions:
        return Actions(asking, Caller(request.state.identity, address, idempotency_key, confirm, body))

    return actions


def _canonical(body: bytes) -> str:
    """Return a body such that the same document is the same text, however it was written."""
    try:
        return json.dumps(json.loads(body), sort_keys=True)
    except ValueError:
        return body.decode("utf-8", "replace")


Ask = Annotated[Asking, Depends(_asking)]
Who = Annotated[Identity, Depends(_identity)]
"""Who asks; every role may read, so that only the databases are narrowed: `asking.scope(who, ...)`."""
Act = Annotated[Callable[[str], Actions], Depends(_actions)]
"""Called with what was typed to confirm ("" for nothing), it returns the changes that the caller may ask for."""
