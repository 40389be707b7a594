"""The audit of the HTTP API and its tokens: kept in the first database of a configuration, for all of them."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from migrator.config import Config
from migrator.core import journal
from migrator.core.errors import TargetNotFound, UsageError
from migrator.core.journal import Entry, Role, Token
from migrator.runtime.connections import Connections
from migrator.runtime.runs import new_id

PREFIX = "mgr"
"""How every token begins, so that scanners of leaked secrets know one."""

_LONGEST, _MOST_DAYS = 100, 36500

_UNCHANGED = "Nothing was changed."


class Journal:
    """See `Migrator.journal`. Takes no lock."""

    def __init__(self, config: Config, connections: Connections) -> None:
        self._config = config
        self._connections = connections

    async def begin(self, entry: Entry) -> Entry | None:
        """Write an entry; or return the one with which the same caller used the same key before."""
        async with self._opened() as kept:
            return await kept.begin(entry)

    async def end(self, entry_id: str, word: str, message: str, result: Mapping[str, Any] | None = None) -> None:
        """Write how an entry ended."""
        async with self._opened() as kept:
            await kept.end(entry_id, word, self._config.mask()(message), result)

    async def entry(self, entry_id: str) -> Entry:
        """Return one entry. Raises TargetNotFound."""
        async with self._opened() as kept:
            found = await kept.entries(entry_id=entry_id, limit=1) if entry_id else []
        if not found:
            raise TargetNotFound(f"the audit has no entry {entry_id!r}", state=_UNCHANGED)
        return found[0]

    async def entries(self, *, action: str = "", after: str = "", limit: int = 50) -> list[Entry]:
        """Return entries, newest first, at most `limit` of ids smaller than `after`."""
        async with self._opened() as kept:
            return await kept.entries(action=action, after=after, limit=limit)

    async def tokens(self) -> list[Token]:
        """Return every token, by name, revoked ones too."""
        async with self._opened() as kept:
            return await kept.tokens()

    async def make_token(
        self, name: str, role: Role, databases: Sequence[str] = (), *, days: float = 0, by: str = ""
    ) -> tuple[Token, str]:
        """Make a token and return it with its text, which nobody can find out again. `days` 0 is for ever.

        Raises ConfigError for an unknown database, UsageError for a name that is in use or could not be shown.
        """
        if not (name.isprintable() and name.strip() == name and 0 < len(name) <= _LONGEST):
            raise UsageError(f"{name!r} is no name", state=_UNCHANGED, hint="Take letters, and at most 100 of them.")
        if not 0 <= days <= _MOST_DAYS:
            raise UsageError(f"{days:g} days cannot be", state=_UNCHANGED, hint="0 is for ever; 36500 are the most.")
        for database in databases:
            self._config.database(database)
        if any(each.name == name and not each.revoked_at for each in await self.tokens()):
            raise UsageError(
                f"there is a token {name!r} already",
                state=_UNCHANGED,
                hint=f"`migrator serve token revoke {name}` ends it.",
            )
        secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
        token = Token(
            token_id=new_id(),
            name=name,
            sha256=digest(secret),
            role=role,
            databases=tuple(databases),
            made_at=_text(now),
            made_by=by,
            expires_at=_text(now + timedelta(days=days)) if days else "",
        )
        async with self._opened() as kept:
            await kept.keep_token(token)
        return token, f"{PREFIX}_{token.token_id}_{secret}"

    async def revoke(self, name: str) -> Token:
        """End a token, by its name or id, and return it. Raises TargetNotFound."""
        found = [each for each in await self.tokens() if name in (each.name, each.token_id) and not each.revoked_at]
        if not found:
            raise TargetNotFound(
                f"there is no token {name!r}", state=_UNCHANGED, hint="`migrator serve token list` lists them."
            )
        ended = replace(found[0], revoked_at=_text(datetime.now(UTC)))
        async with self._opened() as kept:
            await kept.keep_token(ended)
        return ended

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[journal.Journal]:
        adapter = await self._connections.adapter(next(iter(self._config.databases)))
        async with adapter.session() as session:
            yield session.journal


def digest(secret: str) -> str:
    """Return what is kept of a token's secret: it is long and random, so that a plain SHA-256 is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
