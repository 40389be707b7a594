"""Who asks, and what is refused before a route is looked for. A plain ASGI middleware, so that streams stay streams."""

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from migrator.dashboard._identities import COOKIE, SESSION, Identities, check_token
from migrator.dashboard._peers import has_token, refuse_forgery, settle
from migrator.dashboard._problems import Refusal, of_refusal, problem, route_of, wants_page
from migrator.dashboard.pages_problem import told

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from migrator.dashboard._asking import Asking

__all__ = ["Security", "check_token", "forget", "keep", "log_in"]

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""What every answer carries."""

OPEN = frozenset({"/healthz", "/readyz", "/login", "/logout"})
"""What anybody may ask, besides what is below `/static/`."""

BODY = 1024 * 1024
"""Bytes that a caller may send."""

PATIENCE = 30.0
"""Seconds in which a caller has to send them."""

_DRAINED, _PATIENCE = 16 * BODY, 5.0
"""Bytes that are taken from a caller who is refused, and seconds."""

_logger = logging.getLogger("migrator.web")


class Security:
    """Wraps the app. Everything behind it finds `request.state.identity`, but for what is open.

    `root_path` is where a proxy shows the app; the path of a call may begin with it or not.
    """

    def __init__(self, app: "ASGIApp", *, asking: "Asking", identities: Identities, root_path: str = "") -> None:
        self._app, self._asking, self._identities, self._root = app, asking, identities, root_path

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Let a call through, or answer it with what is wrong, and write a line in the log."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        if self._root:
            scope["root_path"] = self._root
        answer = _Answer(send, Request(scope))
        proxied = settle(scope, self._asking.config.web)
        try:
            await self._answered(answer, receive, proxied=proxied)
        finally:
            answer.log()

    async def _answered(self, answer: "_Answer", receive: "Receive", *, proxied: bool) -> None:
        request = answer.request
        try:
            if not has_token(request):
                refuse_forgery(request, self._asking.config.web)
            path = route_of(request)
            if path not in OPEN and not path.startswith("/static/"):
                request.state.identity = await self._identities.of(request, proxied=proxied)
            if not getattr(request.state, "by_token", False):  # a token that is nobody's proves nothing
                refuse_forgery(request, self._asking.config.web)
            body = await _body(request, receive)
            await self._app(request.scope, _again(body, receive), answer.send)
        except Refusal as refusal:
            await _drain(request, receive)
            await _page_or_problem(request, refusal)(request.scope, receive, answer.send)
        except Exception:
            if answer.status:
                raise
            _logger.exception("%s %s failed", request.method, quote(request.scope["path"]))
            said = problem(500, "this is a defect of migrator", hint="The log of the server says more; report it.")
            await told(request, said)(request.scope, receive, answer.send)


class _Answer:
    """What goes back: with the headers of every answer, and remembered for the log."""

    def __init__(self, send: "Send", request: Request) -> None:
        self._send, self.request = send, request
        self._began, self.status = monotonic(), 0

    async def send(self, message: "Message") -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if not route_of(self.request).startswith("/static/"):
                headers.setdefault("cache-control", "no-store")
        await self._send(message)

    def log(self) -> None:
        """Write the line of this call: never what stands behind the `?`, in which somebody may have put a secret."""
        request, who = self.request, getattr(self.request.state, "identity", None)
        _logger.info(
            "%s %s %s %s %d in %.0f ms",
            request.client.host if request.client else "-",
            quote(who.name, safe=" @+") if who else "-",
            request.method,
            quote(request.scope["path"]),
            self.status,
            (monotonic() - self._began) * 1000,
        )


def _page_or_problem(request: Request, refusal: Refusal) -> Response:
    """Return what says it: to a person with a browser who is not known, the page on which to log in."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    if refusal.status == 401 and wants_page(request):  # noqa: PLR2004
        if request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET":
            # A strict cookie does not come with the first step from another site, such as a link in a chat.
            return HTMLResponse('<!doctype html><meta http-equiv="refresh" content="0"><title>migrator</title>')
        return RedirectResponse(f"{root}/login", 303)
    if refusal.status == 401 and "hx-request" in request.headers:  # noqa: PLR2004
        # A page that was left open goes there, too; Basic would let the browser ask in a window of its own.
        refusal.headers.update({"hx-redirect": f"{root}/login", "www-authenticate": 'Bearer realm="migrator"'})
    return told(request, of_refusal(refusal))


async def _body(request: Request, receive: "Receive") -> bytes | None:
    """Return what came with a call that may change something, None for others: all of it, before anything begins.

    Raises Refusal (400, 408, 413).
    """
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > BODY:
        raise _too_large()
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    found = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await receive()
                found += message.get("body", b"")
                if len(found) > BODY:
                    raise _too_large()
                if not message.get("more_body", False):
                    return bytes(found)
    except TimeoutError:
        raise Refusal(408, f"the body did not come within {PATIENCE:g} s") from None


def _again(body: bytes | None, receive: "Receive") -> "Receive":
    """Return what gives a body that was read already, and then what comes after it."""
    left = [] if body is None else [body]

    async def receive_again() -> "Message":
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return receive_again


async def _drain(request: Request, receive: "Receive") -> None:
    """Take what a refused caller still sends: one that sends all before it reads would only see a broken connection."""
    waits = "expect" in request.headers
    if waits or not ("content-length" in request.headers or "transfer-encoding" in request.headers):
        return
    taken = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while taken < _DRAINED:
                async with asyncio.timeout(_PATIENCE / 5):
                    message = await receive()
                taken += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _too_large() -> Refusal:
    return Refusal(413, f"more than {BODY // 1024 // 1024} MiB came", hint="Nothing here needs as much.")


async def log_in(request: Request, *, token: str = "", name: str = "", password: str = "") -> str:
    """Return what `keep` is to keep for a token, or for a name with its password.

    Raises Refusal: 401 where it is wrong, 429 after too many failures, 503 where nobody can tell.
    """
    identities: Identities = request.app.state.identities
    return await identities.log_in(request, token=token.strip(), name=name, password=password)


def keep(request: Request, response: Response, text: str) -> None:
    """Let the browser send with every call what `log_in` returned."""
    response.set_cookie(COOKIE, text, max_age=SESSION, **_of(request))  # type: ignore[arg-type]


def forget(request: Request, response: Response) -> None:
    """Take back what `keep` did."""
    response.delete_cookie(COOKIE, **_of(request))  # type: ignore[arg-type]


def _of(request: Request) -> dict[str, object]:
    path = str(request.scope.get("root_path", "")).rstrip("/") or "/"
    return {"path": path, "secure": request.scope["scheme"] == "https", "httponly": True, "samesite": "strict"}
