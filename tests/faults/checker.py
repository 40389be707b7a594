"""The invariants, checked by catalog queries alone. Nothing of the product is imported: a common mistake would hide.

`judge` takes rows of a tracker and what is found of each revision's effect, and is the same for every kind of database.
`violations` gathers both from a PostgreSQL database. Each returns sentences; none means that all is well.

A project under test is a list of `Ordered`: what was written into its files (see `corpus`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

EXIT_CODES = frozenset({0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 130})
"""The documented ones."""

CLOSING = 5.0
"""Seconds in which connections of ended processes must have gone."""


@dataclass(frozen=True)
class Ordered:
    """One revision that was ordered. `transactional` says how it runs; `index` is an index that it builds; `counted` a
    table in whose rows it adds 1 to `n`.
    """

    id: str
    transactional: bool
    index: str = ""
    counted: str = ""


def judge(
    rows: Sequence[Mapping[str, Any]], effects: Mapping[str, int], ordered: Sequence[Ordered], *, final: bool
) -> list[str]:
    """Return what is wrong with a tracker's rows (in order of their start) beside the effects.

    `effects` counts how often each revision took effect: 0, 1, or more, which is always wrong. With `final` all work is
    over: everything must be applied, in order, and nothing pending.
    """
    found = []
    pending = [row for row in rows if row["status"] == "pending"]
    if len(pending) > 1:
        found.append(f"{len(pending)} runs are pending at once")
    if final and pending:
        found.append(f"{pending[0]['revision']} is still pending")
    for one in ordered:
        own = [row for row in rows if row["revision"] == one.id and row["direction"] == "upgrade"]
        found.extend(_of_one(one, own, effects.get(one.id, 0), final=final))
    fences = [row["fence"] for row in rows]
    if fences != sorted(fences):
        found.append(f"a run with an old fence began after one with a newer: {fences}")
    if final:
        order = [row["revision"] for row in rows if row["status"] == "success"]
        wanted = [one.id for one in ordered]
        if order != wanted and sorted(order) == sorted(wanted):
            found.append(f"the order of success is {order}, not {wanted}")
    return found


def _of_one(one: Ordered, own: Sequence[Mapping[str, Any]], effect: int, *, final: bool) -> list[str]:
    found = []
    live = [row for row in own if row["status"] == "success" and not row["superseded_by"]]
    ever = [row for row in own if row["status"] == "success"]
    if len(live) > 1 or len(ever) > 1:
        found.append(f"{one.id} has {len(live)} live successes, {len(ever)} in all")
    if effect > 1:
        found.append(f"{one.id} took effect {effect} times")
    if live and effect < 1:
        found.append(f"{one.id} is a success without its effect")
    if effect and not live:
        told = [row for row in own if row["status"] == "pending" or row["effect"] in ("partial", "unknown")]
        if one.transactional or not told:
            found.append(f"{one.id} took effect and no row says so: {[(r['status'], r['effect']) for r in own]}")
    if final and not (live and effect == 1):
        last = [(row["status"], row["effect"], row["reason"], row["error"]) for row in own[-2:]]
        found.append(f"{one.id} was ordered and is not applied exactly once; its last rows: {last}")
    return found


def judge_exit(code: int, *, killed: bool = False) -> list[str]:
    """Return what is wrong with the exit code of a deployer; `killed` says that a SIGKILL may have ended it."""
    if code in EXIT_CODES or (killed and code == -9):
        return []
    return [f"exit code {code} is not a documented one"]


_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_THERE = "SELECT to_regclass($1) IS NOT NULL"
_ROWS = """
    SELECT run_id, revision, direction, status, effect, reason, error, fence, superseded_by, transactional
      FROM script_run_tracker ORDER BY seq
"""
_INDEX = """
    SELECT count(*) FILTER (WHERE indisvalid) AS valid, count(*) FILTER (WHERE NOT indisvalid) AS invalid
      FROM pg_index WHERE indexrelid = to_regclass($1)
"""
_COUNTED = "SELECT CASE WHEN max(n) > 1 OR min(n) = 1 THEN max(n) ELSE 0 END FROM {}"
"""How often a change of data took effect: 0 while some rows wait for it, more than 1 once a row had it twice."""
_INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
_ADVISORY = """
    SELECT count(*) FROM pg_locks
     WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_OTHERS = """
    SELECT pid, application_name, state, query FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


async def gather(connection: Any, ordered: Sequence[Ordered]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return a tracker's rows and the effects as of one moment."""
    await connection.execute(_SNAPSHOT)
    try:
        rows = []
        if await connection.fetchval(_THERE, "script_run_tracker"):
            rows = [dict(row) for row in await connection.fetch(_ROWS)]
        effects: dict[str, int] = {}
        if await connection.fetchval(_THERE, "evidence"):
            counts = await connection.fetch("SELECT revision, count(*) FROM evidence GROUP BY revision")
            effects = {row[0]: row[1] for row in counts}
        for one in ordered:
            if one.index:
                effects[one.id] = (await connection.fetchrow(_INDEX, one.index))["valid"]
            if one.counted and await connection.fetchval(_THERE, one.counted):
                effects[one.id] = await connection.fetchval(_COUNTED.format(one.counted))
    finally:
        await connection.execute("ROLLBACK")
    return rows, effects


async def look(url: str, ordered: Sequence[Ordered], *, final: bool, alone: bool = False) -> list[str]:
    """Return what is wrong with a PostgreSQL database.

    `alone` says that nobody is at work any more: then no lock, no other connection and no INVALID index may be left.
    """
    import asyncpg

    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        rows, effects = await gather(connection, ordered)
        found = judge(rows, effects, ordered, final=final)
        if final:
            found += [f"the index {row[0]} is INVALID" for row in await connection.fetch(_INVALID)]
        if alone:
            found += await _left(connection)
        return found
    finally:
        await connection.close()


async def _left(connection: Any) -> list[str]:
    """Return what ended processes have left on the server; what is closing gets a moment."""
    clock = asyncio.get_running_loop().time
    end = clock() + CLOSING
    while True:
        others = await connection.fetch(_OTHERS)
        locks = await connection.fetchval(_ADVISORY)
        if not others and not locks:
            return []
        if clock() > end:
            return [f"{locks} advisory locks are left", *(f"a connection is left: {dict(row)}" for row in others)]
        await asyncio.sleep(0.02)


def violations(url: str, ordered: Sequence[Ordered], *, final: bool = True, alone: bool = True) -> list[str]:
    """Return what `look` finds, from a test with or without a loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, look(url, ordered, final=final, alone=alone)).result()
