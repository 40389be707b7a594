"""The audit and the tokens of a store in memory."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from migrator.core.journal import Entry, Token


class MemoryJournal:
    """Implements `core.journal.Journal`."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._tokens: dict[str, Token] = {}

    async def begin(self, entry: Entry) -> Entry | None:
        """Write an entry, or return the one with which the same caller used the same key before."""
        for before in self._entries.values():
            if entry.key and (before.who, before.key) == (entry.who, entry.key):
                return before
        self._entries[entry.entry_id] = replace(entry, asked=_plain(entry.asked), begun_at=_now(), ended_at="")
        return None

    async def end(self, entry_id: str, word: str, message: str, result: Mapping[str, Any] | None) -> None:
        """Write how an entry ended."""
        entry = self._entries.get(entry_id)
        if entry is not None and not entry.ended_at:
            told = replace(entry, word=word, message=message, result=_plain(result), ended_at=_now())
            self._entries[entry_id] = told

    async def entries(self, *, entry_id: str = "", action: str = "", after: str = "", limit: int = 50) -> list[Entry]:
        """Return entries, newest first."""
        found = sorted(self._entries.values(), key=lambda entry: entry.entry_id, reverse=True)
        return [
            entry
            for entry in found
            if (not entry_id or entry.entry_id == entry_id)
            and (not action or entry.action == action)
            and (not after or entry.entry_id < after)
        ][:limit]

    async def tokens(self) -> list[Token]:
        """Return every token, by name."""
        return sorted(self._tokens.values(), key=lambda token: (token.name, token.token_id))

    async def keep_token(self, token: Token) -> None:
        """Write a token, in place of the one with its id."""
        self._tokens[token.token_id] = token


def _plain(value: Any) -> Any:
    """Return a value as it comes back from where JSON is kept."""
    return json.loads(json.dumps(value, default=str))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
