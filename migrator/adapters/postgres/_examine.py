"""What `doctor` asks a PostgreSQL server. Nothing is changed."""

import re
import time
from typing import Any

from migrator.adapters.postgres._errors import translated
from migrator.core.protocols import Finding

OLDEST = 140000
"""PostgreSQL 14, as server_version_num has it."""

CLOCK_LIMIT = 2.0
"""Seconds between the server's clock and ours that are worth a warning."""

_QUESTIONS = """
    SELECT current_setting('server_version') AS version,
           current_setting('server_version_num')::int AS number,
           current_user AS "user",
           current_schema() AS schema,
           pg_is_in_recovery() AS standby,
           pg_backend_pid() AS pid,
           current_schema() IS NOT NULL
               AND has_schema_privilege(current_schema(), 'CREATE') AS may_create,
           to_regclass('script_run_tracker') IS NOT NULL AS tracker,
           to_regclass('script_run_tracker') IS NOT NULL
               AND has_table_privilege(to_regclass('script_run_tracker'), 'INSERT, UPDATE') AS may_write,
           current_setting('synchronous_standby_names') AS standbys,
           current_setting('synchronous_commit') NOT IN ('off', 'local') AS waits,
           (SELECT count(*)::int FROM pg_stat_replication
             WHERE sync_state IS NULL OR sync_state IN ('sync', 'quorum')) AS synchronous,
           extract(epoch FROM clock_timestamp())::float8 AS clock
"""


async def examine(connection: Any) -> list[Finding]:
    """Ask once and judge the answers."""
    before = time.time()
    with translated("examine the server"):
        row = await connection.fetchrow(_QUESTIONS)
    after = time.time()
    return [
        _version(row),
        _pooler(connection, row),
        _rights(row),
        _tracker(row["tracker"]),
        _clock(row["clock"], before, after),
        *_standbys(row),
    ]


def _version(row: Any) -> Finding:
    text = f"PostgreSQL {row['version']}, user {row['user']}, schema {row['schema']}"
    if row["number"] < OLDEST:
        return Finding("fail", "server", text, "PostgreSQL 14 is the oldest that is supported.")
    if row["standby"]:
        return Finding("fail", "server", f"{text}, a read-only standby", "Point the address at the primary.")
    return Finding("ok", "server", text)


def _pooler(connection: Any, row: Any) -> Finding:
    if connection.get_server_pid() == row["pid"]:
        return Finding("ok", "pooler", "none: the connection is direct")
    return Finding(
        "warn",
        "pooler",
        "a connection pooler stands between us and the server",
        "Give the server's own address as `direct_url`: through a pooler in transaction mode the lock is only a lease.",
    )


def _rights(row: Any) -> Finding:
    if row["tracker"] and not row["may_write"]:
        return Finding("fail", "rights", "may not write the tracker", "GRANT INSERT, UPDATE ON script_run_tracker.")
    if not row["may_create"]:
        return Finding(
            "fail",
            "rights",
            f"may not create tables in schema {row['schema']}",
            f"GRANT CREATE ON SCHEMA {row['schema']} TO {row['user']}; or use another user.",
        )
    return Finding("ok", "rights", f"may create tables in schema {row['schema']}")


def _tracker(there: bool) -> Finding:
    text = "is there" if there else "not there yet; the first upgrade creates it"
    return Finding("ok", "tracker", text, value=float(there))


def _standbys(row: Any) -> list[Finding]:
    """Return what is wrong where every commit waits for a standby that is not connected."""
    number = re.match(r"(?:FIRST\s+|ANY\s+)?(\d+)\s*\(", row["standbys"].strip(), re.IGNORECASE)
    missing = (int(number[1]) if number else 1) - row["synchronous"]
    if row["standby"] or not row["waits"] or not row["standbys"].strip() or missing <= 0:
        return []
    return [
        Finding(
            "fail",
            "standbys",
            f"every commit waits for {missing} synchronous standby(s) that are not connected "
            f"(synchronous_standby_names = {row['standbys']!r})",
            "Start the standby; or change synchronous_standby_names, then SELECT pg_reload_conf().",
        )
    ]


def _clock(server: float, before: float, after: float) -> Finding:
    off = max(before - server, server - after, 0.0)
    if off > CLOCK_LIMIT:
        return Finding("warn", "clock", f"the server's clock and ours differ by {off:.1f} s", "Set both by NTP.", off)
    return Finding("ok", "clock", "the server's clock and ours agree", value=off)
