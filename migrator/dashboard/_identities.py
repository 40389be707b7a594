"""Who asks: by a token, a password, a cookie that stands for one of them, a trusted proxy, or from this machine."""

import asyncio
import hashlib
import hmac
import logging
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from secrets import token_bytes
from time import monotonic, time
from typing import TYPE_CHECKING

from migrator.core.errors import DatabaseError
from migrator.core.journal import Identity, Role, Token
from migrator.core.passwords import NOBODY, matches
from migrator.dashboard._attempts import Attempts
from migrator.dashboard._peers import refuse_strangers
from migrator.dashboard._problems import UNCHECKED, Refusal
from migrator.runtime.journal import PREFIX, digest

if TYPE_CHECKING:
    from starlette.requests import Request

    from migrator.dashboard._asking import Asking
    from migrator.serving import User

FRESH = 2.0
"""Seconds after which a token that was revoked elsewhere is refused here, too."""

PATIENCE = 8.0
"""Seconds for which a caller waits for a database that says nothing."""

SURE = 30.0
"""Seconds for which a password that was right is not hashed again."""

SESSION = 12 * 3600
"""Seconds after which whoever logged in on the page has to do so again."""

COOKIE = "migrator_token"
LOOPBACK = Identity("local", Role.ADMIN, "loopback")
"""Whoever asks from this machine while no authentication is set up."""

_LONGEST = 200
_SESSION_PREFIX = "session"
_logger = logging.getLogger("migrator.web")


class Identities:
    """One for each app. `identify` is the word of an application that mounts it."""

    def __init__(self, asking: "Asking", identify: "Callable[[Request], Identity | None] | None") -> None:
        self._asking, self._identify = asking, identify
        self._web = asking.config.web
        self._attempts = Attempts()
        self._passwords = Passwords(self._web.users)
        self._was_open = False

    async def of(self, request: "Request", *, proxied: bool) -> Identity:
        """Return who asks; `proxied` says that a trusted proxy does. Raises Refusal (401, 403, 429, 503).

        `request.state.by_token` is set where it came from a token in the header of this call.
        """
        if self._identify is not None and (known := self._identify(request)) is not None:
            return known
        header = request.headers.get("authorization", "")
        scheme, _, said = header.partition(" ")
        if scheme.lower() == "bearer" and said.startswith(f"{PREFIX}_"):
            found = await self._with_token(said.strip(), _address(request))
            request.state.by_token = True
            return found
        if scheme.lower() == "basic" and self._web.users:
            return await self._with_basic(said, _address(request))
        if proxied and self._web.user_header in request.headers:
            return self._proxied(request)
        if header:
            raise self._unknown("token", _address(request))
        return await self._with_cookie(request.cookies.get(COOKIE, "")) or await self._unnamed(request)

    async def log_in(self, request: "Request", *, token: str = "", name: str = "", password: str = "") -> str:
        """Return what the cookie is to hold for a token, or for a name with its password. Raises Refusal."""
        if token:
            await self._with_token(token, _address(request))
            return token
        await self._with_password(name, password, _address(request))
        return self._passwords.session(name)

    async def _with_token(self, text: str, address: str) -> Identity:
        token = await find_token(self._asking, text)
        if token is None:
            raise self._unknown("token", address)
        if ended := token.ended(_now()):
            raise self._unnamed_refusal(f"the token {token.name} does not hold any more: {ended}")
        return _bearer(token)

    async def _with_basic(self, text: str, address: str) -> Identity:
        try:
            name, _, password = b64decode(text.strip(), validate=True).decode().partition(":")
        except ValueError:
            raise self._unknown("password", address) from None
        return await self._with_password(name, password, address)

    async def _with_password(self, name: str, password: str, address: str) -> Identity:
        def may_try() -> None:
            if wait := self._attempts.wait("password", address):
                raise _too_many(address, wait)

        found = await self._passwords.check(name, password, may_try)
        if found is None:
            raise self._unknown("password", address)
        return found

    async def _with_cookie(self, text: str) -> Identity | None:
        """Return whose cookie this is. One that is nobody's is as none: there is nothing in it to guess."""
        if text.startswith(f"{_SESSION_PREFIX}_"):
            return self._passwords.of_session(text)
        return await check_token(self._asking, text) if text else None

    def _proxied(self, request: "Request") -> Identity:
        names, groups = (request.headers.getlist(each) for each in (self._web.user_header, self._web.groups_header))
        if len(names) != 1 or len(groups) > 1:
            raise Refusal(
                403, "the proxy lets others say who asks", hint=f"It must set {self._web.user_header} itself."
            )
        name = names[0].strip()
        if not (name.isprintable() and 0 < len(name) <= _LONGEST):
            raise Refusal(403, "the proxy says no name that could be written down")
        said = [each.strip() for each in ",".join(groups).split(",")]
        roles = [role for role in Role if role in {self._web.groups.get(each) for each in said}]
        if not roles:
            raise Refusal(
                403,
                f"{name} is in no group with a role here",
                hint=f"{self._web.groups_header} names the groups, and migrator.toml their roles: [web.groups] "
                'sre = "operator".',
            )
        return Identity(name, roles[-1], "proxy")

    async def _unnamed(self, request: "Request") -> Identity:
        """Return who asks without a word: somebody at this machine, while no authentication is set up."""
        if self._identify is not None or self._web.users or self._web.proxies:
            raise self._unnamed_refusal("nobody has said who asks")
        try:
            guarded = await _is_guarded(self._asking)
        except Refusal:
            if not self._was_open:
                raise
            refuse_strangers(request, self._web)
            return Identity(LOOPBACK.name, Role.VIEWER, UNCHECKED)  # a token may have been made meanwhile
        self._was_open = not guarded
        if guarded:
            raise self._unnamed_refusal("nobody has said who asks")
        refuse_strangers(request, self._web)
        return LOOPBACK

    def _unknown(self, kind: str, address: str) -> Refusal:
        """Count a failed login and return its refusal."""
        if wait := self._attempts.wait(kind, address):
            return _too_many(address, wait)
        self._attempts.failed(kind, address)
        said = "this is no name and password that I know" if kind == "password" else "this is no token that I know"
        return self._unnamed_refusal(said)

    def _unnamed_refusal(self, message: str) -> Refusal:
        ways = ['Bearer realm="migrator"', *(['Basic realm="migrator", charset="UTF-8"'] if self._web.users else [])]
        return Refusal(
            401,
            message,
            hint="Send `Authorization: Bearer mgr_...`; `migrator serve token add NAME --role ...` makes a token.",
            headers={"www-authenticate": ", ".join(ways)},
        )


class Passwords:
    """The users with passwords, and the sessions of those who gave theirs on the page.

    A session is a name and a time, signed with the hash of the password: every instance knows it, and it ends with
    the password.
    """

    def __init__(self, users: "Mapping[str, User]") -> None:
        self._users = users
        self._sure: OrderedDict[bytes, float] = OrderedDict()
        self._key = token_bytes(32)
        self._turn = asyncio.Semaphore(2)  # each takes 32 MiB and a fifth of a second

    async def check(self, name: str, password: str, may_try: Callable[[], None]) -> Identity | None:
        """Return whose password this is. `may_try` raises where nothing is to be tried; asked when it is our turn."""
        user = self._users.get(name)
        mark = hmac.digest(self._key, f"{name}\0{password}".encode("utf-8", "surrogatepass"), "sha256")
        if user is not None and monotonic() - self._sure.get(mark, -SURE) < SURE:
            return user.identity
        async with self._turn:
            may_try()
            right = await asyncio.to_thread(matches, password, user.password if user else NOBODY)
        if user is None or not right:
            return None
        self._sure[mark] = monotonic()
        if len(self._sure) > _LONGEST:
            self._sure.popitem(last=False)
        return user.identity

    def session(self, name: str) -> str:
        """Return the text of a session that begins now."""
        said = f"{_SESSION_PREFIX}_{name.encode().hex()}_{int(time()) + SESSION}"
        return f"{said}_{self._signature(said, self._users[name])}"

    def of_session(self, text: str) -> Identity | None:
        """Return whose session this is; None where it is nobody's, or has ended."""
        said, _, signature = text.rpartition("_")
        known = {f"{_SESSION_PREFIX}_{name.encode().hex()}": user for name, user in self._users.items()}
        user = known.get(said.rpartition("_")[0])
        if user is None or not signature.isascii() or not hmac.compare_digest(self._signature(said, user), signature):
            return None
        return user.identity if time() < int(said.rpartition("_")[2]) else None

    def _signature(self, said: str, user: "User") -> str:
        return hmac.new(user.password.encode(), said.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


async def check_token(asking: "Asking", text: str) -> Identity | None:
    """Return whose token this is; None where it is nobody's, or has ended. Raises Refusal (503)."""
    token = await find_token(asking, text)
    return _bearer(token) if token is not None and not token.ended(_now()) else None


async def find_token(asking: "Asking", text: str) -> Token | None:
    """Return a token by its text, one that has ended too. Takes as long for every text."""
    prefix, _, rest = text.partition("_")
    token_id, _, secret = rest.partition("_")
    found = {each.token_id: each for each in await _tokens(asking)}.get(token_id)
    same = hmac.compare_digest(digest(secret if text.isascii() else ""), found.sha256 if found else digest(PREFIX))
    return found if same and prefix == PREFIX else None


async def _is_guarded(asking: "Asking") -> bool:
    """Say whether there is a token. One that expired shuts others out, too, until it is revoked: nobody may notice
    that it did. Raises Refusal (503).
    """
    return any(not each.revoked_at for each in await _tokens(asking))


async def _tokens(asking: "Asking") -> Sequence[Token]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await asking.shared("tokens", asking.questions.journal.tokens, FRESH)
    except (DatabaseError, TimeoutError) as error:
        _logger.warning("the tokens cannot be read: %s", str(error) or "no answer in time")
        name = next(iter(asking.config.databases))
        raise Refusal(
            503,
            f"the tokens cannot be checked: {name} keeps them, and it does not answer",
            hint="Try again when it does; the log of this server says why.",
            headers={"retry-after": "5"},
        ) from error


def _bearer(token: Token) -> Identity:
    return Identity(token.name, token.role, "token", token.databases)


def _too_many(address: str, wait: float) -> Refusal:
    seconds = int(wait) + 1
    return Refusal(
        429,
        f"too many failed logins from {address or 'there'}",
        hint=f"Wait {seconds} s.",
        headers={"retry-after": str(seconds)},
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _address(request: "Request") -> str:
    return request.client.host if request.client else ""
