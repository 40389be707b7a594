"""Who asks, and what is refused before a route is looked for. A plain ASGI middleware, so that streams stay streams."""

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request

from migrator.core.journal import Identity, Role
from migrator.dashboard._problems import Refusal, of_refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from migrator.dashboard._asking import Asking

LOOPBACK = Identity("local", Role.ADMIN, "loopback")
"""Whoever asks from this machine while no authentication is set up."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""What every answer carries."""

OPEN = frozenset({"/healthz", "/readyz"})
"""What anybody may ask."""


class Security:
    """Wraps the app. Everything behind it finds `request.state.identity`."""

    def __init__(
        self, app: "ASGIApp", *, asking: "Asking", identify: "Callable[[Request], Identity | None] | None" = None
    ) -> None:
        self._app, self._asking, self._identify = app, asking, identify

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Let a call through, or answer it with what is wrong."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: "Message") -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        try:
            _refuse_forgery(request)
            scope.setdefault("state", {})["identity"] = await self._who(request)
        except Refusal as refusal:
            await of_refusal(refusal)(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    async def _who(self, request: Request) -> Identity:
        return (self._identify and self._identify(request)) or LOOPBACK


def _refuse_forgery(request: Request) -> None:
    """Refuse a change that another site makes a browser ask for."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    headers: Headers = request.headers
    site = headers.get("sec-fetch-site")
    if site in ("same-origin", "none"):
        return
    origin = headers.get("origin")
    if site is not None or (origin is not None and origin != f"{request.url.scheme}://{headers.get('host')}"):
        raise Refusal(403, "another site asked for this", hint="Open the page itself and press the button there.")
