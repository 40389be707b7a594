"""A project with a long change, and what can be seen of it from outside."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests._servers import sql
from tests.acceptance._project import Child, Project, until

ROWS = 1000
BATCH = 25
SLOW = {"PACE": "40"}
"""Rows per second for a change that is to be met in the middle."""

MAKE = f"""
    await ctx.execute("CREATE TABLE rows (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, d int NOT NULL DEFAULT 1)")
    await ctx.execute("INSERT INTO rows SELECT i FROM generate_series(1, {ROWS}) AS i")
    await ctx.execute("ANALYZE rows")
"""
ONE_MORE = """
    import os
    pace = float(os.environ.get("PACE", 0))
    async for batch in ctx.batches("rows", max_rows=BATCH, max_rows_per_second=pace, OPTIONS):
        async with batch:
            await ctx.execute("UPDATE rows SET n = n + 1 / d WHERE id BETWEEN $1 AND $2", batch.first, batch.last)
"""
DONE = 'return await ctx.value("SELECT count(*) FROM rows WHERE n <> 1") == 0'


def long_change(project: Project, *, options: str = "", verify: str | None = DONE, **constants: Any) -> Project:
    """Write revision a1, which makes the table `rows`, and a2, which adds 1 to each of its rows in small batches."""
    project.revision("main", "a1", upgrade=MAKE, downgrade='await ctx.execute("DROP TABLE rows")')
    body = ONE_MORE.replace("BATCH", str(BATCH)).replace(", OPTIONS", f", {options}" if options else "")
    back = body.replace("n + 1 / d", "n - 1")
    project.revision("main", "a2", "a1", upgrade=body, downgrade=back, verify=verify, **constants)
    return project


def checkpoint(url: str) -> dict[str, Any]:
    """Return the newest checkpoint, {} where there is none."""
    if sql(url, "SELECT to_regclass('script_run_checkpoint')")[0][0] is None:
        return {}
    found = sql(url, "SELECT * FROM script_run_checkpoint ORDER BY updated_at DESC LIMIT 1")
    return dict(found[0]) if found else {}


def once(url: str) -> bool:
    """Say whether every row was changed exactly once."""
    return [tuple(row) for row in sql(url, "SELECT min(n), max(n), count(*) FROM rows")] == [(1, 1, ROWS)]


@contextmanager
def in_the_middle(project: Project, *args: str) -> Iterator[Child]:
    """Start a slow upgrade, and go on when some of its batches are done."""
    child = project.start("upgrade", *args, env=SLOW)
    url = project.urls["main"]
    until(lambda: checkpoint(url).get("batches", 0) >= 2 or not child.runs(), "some batches are done")
    assert child.runs(), child.wait()
    yield child


def stands_still(project: Project) -> dict[str, Any]:
    """Wait until the change stands still, and return its checkpoint."""
    url = project.urls["main"]
    until(lambda: checkpoint(url)["waiting"].startswith("paused"), "it stands still")
    return checkpoint(url)


def change(project: Project, database: str = "main") -> dict[str, Any]:
    """Return the one long change of a database, as `status` tells it to programs."""
    (found,) = project.good("status", "--json", "-d", database).json()["databases"][0]["changes"]
    told: dict[str, Any] = found
    return told


def loops(run: dict[str, Any]) -> dict[str, Any]:
    """Return what the one loop of a run did."""
    progress = json.loads(run["progress"]) if isinstance(run["progress"], str) else run["progress"]
    (found,) = progress["loops"]
    told: dict[str, Any] = found
    return told
