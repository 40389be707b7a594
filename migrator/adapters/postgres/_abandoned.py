"""Sessions on the server whose client is gone or stopped, and that no limit of the server ends.

Between the messages of one statement, in the middle of a COPY, and while a commit waits for a standby, neither
idle_session_timeout nor statement_timeout ends a session. So its client does, or the next one who wants the lock.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from migrator.adapters.postgres._link import Link
from migrator.core.errors import MigratorError

SILENT = 30.0
"""Seconds of silence after which the holder of the lock counts as gone, as for the limits that the server has."""

PATIENCE = 2.5
"""Seconds for a look at the server from a second connection, when the first does not answer."""

_END = """
    SELECT wait_event, pg_catalog.pg_terminate_backend(pid, 2000) FROM pg_catalog.pg_stat_activity
     WHERE pid = $1 AND pid <> pg_catalog.pg_backend_pid() AND starts_with(application_name, 'migrator:')
"""


class Vigil:
    """Ends the holder of the lock where its session cannot end by itself. One for each who waits for the lock."""

    def __init__(self, ask: Callable[[str, Mapping[str, Any]], Awaitable[list[Any]]], name: str) -> None:
        self._ask = ask
        self._name = name
        self._seen: dict[tuple[Any, ...], float] = {}

    async def look(self, keys: Mapping[str, int]) -> None:
        """Look once. A holder that lives sends something every few seconds, so the gap is never long for it.

        In a COPY and at a commit it cannot, so there the wait is watched for as long without any progress.
        """
        now = time.monotonic()
        rows = await self._ask("abandoned", {**keys, "silent": SILENT})
        marks = [(row["pid"], row["since"], row["copied"]) for row in rows]
        self._seen = {mark: self._seen.get(mark, now) for mark in marks}
        for row, mark in zip(rows, marks, strict=True):
            if row["gap"] or now - self._seen[mark] >= SILENT:
                await self._ask("end", {"pid": row["pid"]})
                logging.getLogger("migrator").warning(
                    "%s: the session that held the lock was ended; its client has sent nothing for %d s",
                    self._name,
                    SILENT,
                )


async def end(beside: AbstractAsyncContextManager[Link], pid: int) -> str:
    """End a process of the server that did not answer in time; return what it was waiting for, "" if unknown.

    `beside` opens another connection to the server. Nothing is raised: that one may not answer either.
    """
    with suppress(MigratorError, TimeoutError):
        async with asyncio.timeout(PATIENCE), beside as link:
            rows = await link.fetch(_END, (pid,), "end a session that does not answer")
            return _WAITS.get(rows[0]["wait_event"], "") if rows else ""
    return ""


_WAITS = {
    "SyncRep": "the server waits for a synchronous standby: synchronous_standby_names and pg_stat_replication say which"
}
"""What a wait event of the server means for the person on call."""
