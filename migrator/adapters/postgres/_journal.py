"""The audit of the HTTP API and its tokens in one PostgreSQL database: two tables of the tracker.

Version 1 of the tracker has them only where they were used; the first write moves such a tracker forward.
"""

import json
from collections.abc import Mapping
from typing import Any

from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._queries import decoded
from migrator.adapters.postgres._tracker import PostgresTracker
from migrator.core.errors import DatabaseError
from migrator.core.journal import Entry, Role, Token

_UNDEFINED_TABLE = "42P01"


class PostgresJournal:
    """Implements `core.journal.Journal` on one link."""

    def __init__(self, link: Link, tracker: PostgresTracker) -> None:
        self._link = link
        self._tracker = tracker
        self._queries = tracker.queries

    async def begin(self, entry: Entry) -> Entry | None:
        """Write an entry, or return the one with which the same caller used the same key before."""
        values = {**vars(entry), "databases": list(entry.databases), "asked": json.dumps(entry.asked, default=str)}
        if await self._write("journal_begin", values, "write the audit"):
            return None
        # A statement of its own: only a later one sees what another caller has just committed.
        (row,) = await self._read("journal_used", {"who": entry.who, "key": entry.key}, "read the audit")
        return _entry(row)

    async def end(self, entry_id: str, word: str, message: str, result: Mapping[str, Any] | None) -> None:
        """Write how an entry ended."""
        told = None if result is None else json.dumps(result, default=str)
        values = {"entry_id": entry_id, "word": word, "message": message, "result": told}
        await self._write("journal_end", values, "write the audit")

    async def entries(self, *, entry_id: str = "", action: str = "", after: str = "", limit: int = 50) -> list[Entry]:
        """Return entries, newest first."""
        values = {"entry_id": entry_id or None, "action": action or None, "after": after or None, "limit": limit}
        return [_entry(row) for row in await self._read("journal_entries", values, "read the audit")]

    async def tokens(self) -> list[Token]:
        """Return every token, by name."""
        return [_token(row) for row in await self._read("journal_tokens", {}, "read the tokens")]

    async def keep_token(self, token: Token) -> None:
        """Write a token, in place of the one with its id."""
        values = {**vars(token), "hash": token.sha256, "databases": list(token.databases)}
        await self._write("journal_keep_token", values, "keep the token")

    async def _read(self, name: str, values: Mapping[str, Any], doing: str) -> list[Any]:
        try:
            return await self._link.fetch(self._queries.text(name, values), (), doing, limit=LIMIT)
        except DatabaseError as error:
            if error.code != _UNDEFINED_TABLE:
                raise
            return []

    async def _write(self, name: str, values: Mapping[str, Any], doing: str) -> list[Any]:
        await self._tracker.create()
        try:
            return await self._link.fetch(self._queries.text(name, values), (), doing, limit=LIMIT)
        except DatabaseError as error:
            if error.code != _UNDEFINED_TABLE:
                raise
        await self._tracker.ensure()
        return await self._link.fetch(self._queries.text(name, values), (), doing, limit=LIMIT)


def _entry(row: Any) -> Entry:
    kept = {"databases": tuple(row["databases"]), "asked": decoded(row["asked"]), "result": decoded(row["result"])}
    return Entry(**{**row, **kept})


def _token(row: Any) -> Token:
    return Token(**{**row, "databases": tuple(row["databases"]), "role": Role(row["role"])})
