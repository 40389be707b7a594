"""What a PostgreSQL server says of itself while a long change runs. Nothing is changed."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from migrator.adapters.postgres._link import Link
from migrator.core.errors import MigratorError, PermissionDenied, UsageError
from migrator.core.throttle import Lag, Trail

LIMIT = 5.0
"""Seconds for one answer; after them the connection counts as gone, and the next reading opens another."""

STATEMENT = 4000
"""Milliseconds for the query of a throttle, on the server."""

_REPLICAS = """
    SELECT coalesce(nullif(nullif(application_name, ''), 'walreceiver'), pg_catalog.host(client_addr), 'pid ' || pid)
               AS name,
           pid IS NOT NULL AND state IS NULL AS hidden,
           coalesce(extract(epoch FROM replay_lag), 0)::float8 AS seconds,
           pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::int8 AS written,
           pg_catalog.pg_wal_lsn_diff(replay_lsn, '0/0')::int8 AS replayed,
           application_name <> '' OR client_addr IS NOT NULL AS lasting
      FROM (SELECT) AS primary_server
      LEFT JOIN pg_catalog.pg_stat_replication ON (state IS NULL OR replay_lsn IS NOT NULL)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE active_pid = pid AND slot_type = 'logical')
"""
"""Physical standbys. A logical consumer may confirm nothing for hours where nothing is in it for it; a base backup and
pg_receivewal replay nothing.
"""

_OURS = """
    coalesce($1::int4[], ARRAY(SELECT pid FROM pg_catalog.pg_stat_activity
                                WHERE application_name = pg_catalog.current_setting('application_name')
                                  AND datname = pg_catalog.current_database()))
"""
"""The server's processes of this adapter; behind a pooler nobody knows them, so it is those of its name."""

_WAITERS = f"""
    SELECT count(*)::int4 AS count
      FROM (SELECT DISTINCT pid FROM pg_catalog.pg_locks WHERE NOT granted) AS waiting
     WHERE pg_catalog.pg_blocking_pids(pid) && {_OURS}
"""  # noqa: S608 - our own text

_OLDEST = f"""
    SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS allowed,
           coalesce(extract(epoch FROM max(pg_catalog.clock_timestamp() - xact_start)), 0)::float8 AS seconds
      FROM pg_catalog.pg_stat_activity
     WHERE backend_type = 'client backend' AND datname = pg_catalog.current_database()
       AND pid <> ALL ({_OURS}) AND pid <> pg_catalog.pg_backend_pid()
"""  # noqa: S608 - our own text


class PostgresSignals:
    """Implements `core.throttle.Signals`. `pids` gives the server's processes of the adapter, None where unknown."""

    def __init__(self, link: Link, pids: Callable[[], list[int] | None]) -> None:
        self._link = link
        self._pids = pids
        self._trail = Trail()
        self._seen: dict[str, int] = {}

    async def lag(self) -> Lag | None:
        """Return the standby that is furthest behind: by the server's own measure, and by what it has not replayed.

        The server measures only what was written since a standby connected, and forgets it in between. A standby that
        disconnects is where it was last seen, so that its lag grows until it is back.
        """
        rows = await self._fetch(_REPLICAS)
        if any(row["hidden"] for row in rows):
            raise PermissionDenied(
                "there are replicas, and this user may not see how far they are",
                hint="GRANT pg_monitor TO ... for the user of migrator.",
            )
        now, there = time.monotonic(), [row for row in rows if row["replayed"] is not None]
        self._trail.mark(now, rows[0]["written"])
        lags = [Lag(row["name"], max(row["seconds"], self._trail.behind(now, row["replayed"]))) for row in there]
        gone = self._seen.keys() - {row["name"] for row in there}
        lags += [Lag(f"{name}, which has disconnected", self._trail.behind(now, self._seen[name])) for name in gone]
        self._seen.update((row["name"], row["replayed"]) for row in there if row["lasting"])
        return max(lags, key=lambda lag: lag.seconds, default=None)

    async def waiters(self) -> int:
        """Return how many sessions wait for a lock of ours."""
        return int((await self._fetch(_WAITERS, self._pids()))[0]["count"])

    async def oldest(self) -> float:
        """Return the age of the oldest transaction of somebody else in this database."""
        row = (await self._fetch(_OLDEST, self._pids()))[0]
        if not row["allowed"]:
            raise PermissionDenied(
                "this user may not see the transactions of others",
                hint="GRANT pg_monitor TO ... for the user of migrator.",
            )
        return float(row["seconds"])

    async def value(self, query: Any) -> Any:
        """Return the first column of the first row of a query, in a transaction that only reads."""
        begin = f"BEGIN READ ONLY; SET LOCAL statement_timeout = {STATEMENT}"
        await self._link.execute(begin, "begin the throttle's query", limit=LIMIT)
        try:
            rows = await self._link.fetch(query, (), "run the throttle's query", limit=LIMIT)
        finally:
            with suppress(MigratorError):
                await self._link.execute("ROLLBACK", "end the throttle's query", limit=LIMIT)
        if rows and not len(rows[0]):
            raise UsageError("the throttle's query has no column")
        return rows[0][0] if rows else None

    async def _fetch(self, text: str, *args: Any) -> list[Any]:
        return await self._link.fetch(text, args, "look at the server", limit=LIMIT)
