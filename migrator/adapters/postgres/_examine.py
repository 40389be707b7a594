"""What `doctor` asks a PostgreSQL server. Nothing is changed."""

import re
import time
from typing import Any

from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._place import Place, copies, find
from migrator.adapters.postgres._queries import VERSION, Queries, identifier
from migrator.core.errors import TrackerAmbiguous
from migrator.core.protocols import Finding

OLDEST = 140000
"""PostgreSQL 14, as server_version_num has it."""

CLOCK_LIMIT = 2.0
"""Seconds between the server's clock and ours that are worth a warning."""

_LEAVE_OUT = "Leave the tables script_run_* out of the publication: name tables or schemas in place of FOR ALL TABLES."

_QUESTIONS = """
    SELECT current_setting('server_version') AS version,
           current_setting('server_version_num')::int AS number,
           current_user AS "user",
           current_schema() AS schema,
           pg_is_in_recovery() AS standby,
           pg_backend_pid() AS pid,
           CASE WHEN to_regnamespace(quote_ident($1)) IS NULL THEN has_database_privilege(current_database(), 'CREATE')
                ELSE has_schema_privilege(to_regnamespace(quote_ident($1)), 'CREATE') END AS may_create,
           (SELECT has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE') FROM pg_class
             WHERE oid = to_regclass(quote_ident($1) || '.script_run_tracker')) AS may_write,
           current_setting('synchronous_standby_names') AS standbys,
           current_setting('synchronous_commit') NOT IN ('off', 'local') AS waits,
           (SELECT count(*)::int FROM pg_stat_replication
             WHERE sync_state IS NULL OR sync_state IN ('sync', 'quorum')) AS synchronous,
           extract(epoch FROM clock_timestamp())::float8 AS clock
"""


async def examine(link: Link, name: str, wanted: str) -> list[Finding]:
    """Ask where the tracker is and how the server is, and judge the answers. `wanted` is the `tracker_schema`."""
    try:
        found, place = await find(link, name, wanted)
        schema = place.schema if place else wanted or found["here"] or ""
        tracker = _tracker(place, schema)
        copied = str(await copies(link, Queries(place.schema, place.version), place)) if place else ""
    except TrackerAmbiguous as error:
        copied, schema, tracker = "", wanted, Finding("fail", "tracker", error.message, error.hint, 1.0)
    before = time.time()
    row = (await link.fetch(_QUESTIONS, (schema,), "examine the server", limit=LIMIT))[0]
    after = time.time()
    return [
        _version(row),
        _pooler(link.connection, row),
        _rights(row, schema),
        tracker,
        *([Finding("warn", "replication", f"the tracker is {copied}", _LEAVE_OUT)] if copied else []),
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


def _rights(row: Any, schema: str) -> Finding:
    if row["may_write"] is False:
        hint = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {identifier(schema)} TO {row['user']}."
        return Finding("fail", "rights", "may not write the tracker", hint)
    if not row["may_create"]:
        text = f"may not create tables in schema {schema}"
        return Finding("fail", "rights", text, f"GRANT CREATE ON SCHEMA {identifier(schema)} TO {row['user']}.")
    return Finding("ok", "rights", f"may create tables in schema {schema}")


def _tracker(place: Place | None, schema: str) -> Finding:
    if place is None:
        if not schema:
            text = "not there yet, and the search path has no schema for it"
            return Finding("fail", "tracker", text, "Set `tracker_schema` in migrator.toml.", 0.0)
        return Finding("ok", "tracker", f"not there yet; the first upgrade creates it in schema {schema}", value=0.0)
    where = f"in schema {place.schema}"
    if place.version < VERSION:
        text = f"{where}, version {place.version}; the next upgrade moves it to version {VERSION}"
        return Finding("ok", "tracker", text, value=1.0)
    if place.lacks:
        return Finding("warn", "tracker", f"{where}, and lacks {place.lacks}", "The next upgrade adds it.", 1.0)
    return Finding("ok", "tracker", where, value=1.0)


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
            f"every commit waits for synchronous standbys, of which {missing} more must be connected "
            f"(synchronous_standby_names = {row['standbys']!r})",
            "Start the standby; or change synchronous_standby_names, then SELECT pg_reload_conf().",
        )
    ]


def _clock(server: float, before: float, after: float) -> Finding:
    off = max(before - server, server - after, 0.0)
    if off > CLOCK_LIMIT:
        return Finding("warn", "clock", f"the server's clock and ours differ by {off:.1f} s", "Set both by NTP.", off)
    return Finding("ok", "clock", "the server's clock and ours agree", value=off)
