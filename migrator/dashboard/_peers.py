"""Where a call comes from: the address behind proxies, the name under which it knows us, the site that made it."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from migrator.dashboard._attempts import address_of
from migrator.dashboard._problems import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Scope

    from migrator.serving import Web

FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""Headers that say that a proxy stands in between."""

_SAFE = ("GET", "HEAD", "OPTIONS")


def settle(scope: "Scope", web: "Web") -> bool:
    """Say whether a trusted proxy asks; then the scope is made to tell of its client: `client` and `scheme`."""
    if not _is_proxy(_peer(scope), web):
        return False
    headers = Headers(scope=scope)
    behind = _client(headers, web)
    if behind:
        scope["client"] = (behind, 0)
    proto = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    if proto in ("http", "https"):
        scope["scheme"] = proto
    return True


def _client(headers: Headers, web: "Web") -> str:
    """Return the last address in X-Forwarded-For that is no proxy of ours: what is before it anybody may have said."""
    said = ",".join(headers.getlist("x-forwarded-for"))
    for each in reversed([part.strip() for part in said.split(",") if part.strip()]):
        if address_of(each) is None:
            return ""
        if not _is_proxy(each, web):
            return each
    return ""


def _peer(scope: "Scope") -> str:
    return str(scope["client"][0]) if scope.get("client") else ""


def _is_proxy(text: str, web: "Web") -> bool:
    found = address_of(text)
    return found is not None and any(found in network for network in web.proxies)


def refuse_strangers(request: "Request", web: "Web") -> None:
    """Refuse, while no authentication is set up, whoever does not ask from this machine by a name of ours.

    The name matters because a page from elsewhere can make its own name point here (DNS rebinding).
    """
    found = address_of(_peer(request.scope))
    hint = "`migrator serve token add NAME --role admin` sets authentication up; then everybody logs in."
    if found is None or not found.is_loopback:
        raise Refusal(403, "no authentication is set up, so only this machine may ask", hint=hint)
    if any(name in request.headers for name in FORWARDED):
        raise Refusal(403, "no authentication is set up, and this came through a proxy", hint=hint)
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or not (_is_local(hosts[0]) or _is_ours(hosts[0], web)):
        raise Refusal(
            403,
            "no authentication is set up, and this asks for another host",
            hint='Ask for localhost, or name the host in migrator.toml: [web] hosts = ["..."].',
        )


def refuse_forgery(request: "Request", web: "Web") -> None:
    """Refuse a change that another site makes a browser ask for."""
    headers = request.headers
    if request.method in _SAFE:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        ours = origin is None or _same(origin, headers.get("host", "")) or _is_ours(_netloc(origin), web)
    if not ours:
        raise Refusal(403, "another site asked for this", hint="Open the page itself and press the button there.")


def has_token(request: "Request") -> bool:
    """Say whether a call carries a token in its header, which no other site can make a browser send."""
    return request.headers.get("authorization", "").lower().startswith("bearer ")


def _same(origin: str, host: str) -> bool:
    return bool(host) and _netloc(origin) == host.lower()


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_ours(host: str, web: "Web") -> bool:
    return host.lower() in web.hosts or _name(host) in web.hosts


def _is_local(host: str) -> bool:
    name = _name(host)
    found: Any = address_of(name)
    return name == "localhost" or (found is not None and found.is_loopback)


def _name(host: str) -> str:
    """Return a host without its port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
