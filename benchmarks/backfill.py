"""A backfill of a million rows: ctx.batches beside one UPDATE, and beside a loop by hand with batches as large.

The loop by hand is what a careful person writes: pages by key, a short transaction for each, and no checkpoint. "rows"
reads the rows, computes in Python and writes them back. Each way begins with the same fresh table, in turns, several
rounds on one embedded server; the ratios are of medians taken in this one run. "work" is the processor time of the
server and the program together, less what the command takes where there is nothing to do; a busy machine stretches it
less. `--rows 5000000 --only ours` shows that the
memory of the command does not grow with the table.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from migrator.servers import postgres

ROUNDS = 3
Way = Callable[[], Coroutine[Any, Any, float]]

REVISION = '''"""Set the total of every order."""
from migrator.adapters.{kind} import Context

revision = "b1"
down_revision = None


async def upgrade(ctx: Context) -> None:
    async for batch in ctx.batches("orders"):
        async with batch:
{body}
'''
ROWS = """\
            for row in await batch.rows("quantity", "price"):
                batch.update(row, total=row["quantity"] * row["price"])
"""
TABLE = (
    "DROP TABLE IF EXISTS orders, script_run_tracker, migrator_lock, script_run_checkpoint",
    "CREATE TABLE orders (id bigint PRIMARY KEY, quantity int NOT NULL, price int NOT NULL, note text, total bigint)",
    "ALTER TABLE orders SET (autovacuum_enabled = off)",  # it would begin in the middle of one of the ways
    "INSERT INTO orders SELECT id, id % 7 + 1, id % 1000, repeat('x', 40) FROM generate_series(1, {rows}) AS id",
    "VACUUM (ANALYZE) orders",
    "CHECKPOINT",
)
FILL = "UPDATE orders SET total = quantity * price"
EDGE = "SELECT max(id) FROM (SELECT id FROM orders WHERE id > $1 ORDER BY id LIMIT $2) AS page"
PAGE = "SELECT id, quantity, price FROM orders WHERE id > $1 AND id <= $2 FOR NO KEY UPDATE"


class Ours:
    """The command on a project of one revision, as a program of its own."""

    def __init__(self, url: str, root: Path, kind: str, body: str) -> None:
        self._environ = (
            {**os.environ, "DATABASE_URL": url} if kind == "postgres" else {**os.environ, "MONGODB_URI": url}
        )
        self._root = root
        (root / "revisions").mkdir(parents=True)
        (root / "revisions" / "b1.py").write_text(REVISION.format(kind=kind, body=body))
        self.batches: list[int] = []

    async def run(self) -> float:
        """Return the seconds that its step took: a long change does not notice how long Python takes to start."""
        (run,) = self._upgrade()["runs"]
        self.batches.append(run["progress"]["loops"][0]["batches"])
        return float(run["duration_ms"]) / 1000

    def idle(self) -> None:
        """Run the command where there is nothing to do."""
        assert self._upgrade()["runs"] == []

    def _upgrade(self) -> Any:
        command = [sys.executable, "-m", "migrator", "upgrade", "--json"]
        done = subprocess.run(command, cwd=self._root, env=self._environ, check=False, stdout=subprocess.PIPE)
        assert done.returncode == 0, done.stdout.decode()
        return json.loads(done.stdout)


def spent_by(*servers: psutil.Process) -> float:
    """Return the seconds of processor time of some processes, of those that they waited for, and of this program."""
    times = [each.cpu_times() for each in (*servers, psutil.Process())]
    return sum(each.user + each.system + each.children_user + each.children_system for each in times)


class Postgres:
    """One table on one PostgreSQL."""

    def __init__(self, url: str, root: Path, rows: int) -> None:
        self.url = url
        self.rows = rows
        fill = f'            await ctx.execute(f"{FILL} WHERE {{batch.where}}", *batch.args)'
        self.ours = Ours(url, root / "set", "postgres", fill)
        self.ours_rows = Ours(url, root / "rows", "postgres", ROWS)

    @property
    def ways(self) -> Mapping[str, Way]:
        """Return the ways to do it, ours before the loop by hand, which takes over the size of the batches."""
        return {
            "one UPDATE": self.at_once,
            "ours": self.ours.run,
            "by hand": self.by_hand,
            "ours, rows": self.ours_rows.run,
            "by hand, rows": self.by_hand_rows,
        }

    async def fresh(self) -> None:
        """Make the table anew, as one that has been there for a while."""
        connection = await asyncpg.connect(self.url)
        for statement in TABLE:
            await connection.execute(statement.format(rows=self.rows))
        await connection.close()

    async def check(self) -> None:
        """Every row must have its total."""
        connection = await asyncpg.connect(self.url)
        assert await connection.fetchval("SELECT count(*) FROM orders WHERE total = quantity * price") == self.rows
        await connection.close()

    async def work(self) -> float:
        """Return the seconds of processor time that the server, this program and its children have taken so far."""
        connection = await asyncpg.connect(self.url)
        server = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()")).parent()
        await connection.close()
        return spent_by(server, *server.children())

    async def at_once(self) -> float:
        """Update all in one statement."""
        connection = await asyncpg.connect(self.url)
        began = time.perf_counter()
        await connection.execute(FILL)
        spent = time.perf_counter() - began
        await connection.close()
        return spent

    async def by_hand(self) -> float:
        """Update page by page."""

        async def fill(connection: Any, after: int, edge: int) -> None:
            await connection.execute(f"{FILL} WHERE id > $1 AND id <= $2", after, edge)

        return await self._loop(fill, self.rows // self.ours.batches[-1])

    async def by_hand_rows(self) -> float:
        """Read and write page by page."""

        async def fill(connection: Any, after: int, edge: int) -> None:
            rows = await connection.fetch(PAGE, after, edge)
            values = [(row["quantity"] * row["price"], row["id"]) for row in rows]
            await connection.executemany("UPDATE orders SET total = $1 WHERE id = $2", values)

        return await self._loop(fill, self.rows // self.ours_rows.batches[-1])

    async def _loop(self, fill: Callable[[Any, int, int], Coroutine[Any, Any, None]], size: int) -> float:
        connection = await asyncpg.connect(self.url)
        began, after = time.perf_counter(), 0
        while edge := await connection.fetchval(EDGE, after, size):
            async with connection.transaction():
                await fill(connection, after, edge)
            after = edge
        spent = time.perf_counter() - began
        await connection.close()
        return spent


async def measure(place: Postgres, only: str, rounds: int) -> None:
    """Run the ways in turns and print what they took."""
    times: dict[str, list[float]] = {name: [] for name in place.ways if not only or name in only.split(",")}
    works: dict[str, list[float]] = {name: [] for name in times}
    for _ in range(rounds):
        for name in times:
            await place.fresh()
            before = await place.work()
            times[name].append(await place.ways[name]())
            after = await place.work()
            works[name].append(after - before)
            if name.startswith("ours"):
                place.ours.idle()
                works[name][-1] -= await place.work() - after
            await place.check()
    for name in times:
        hand = name.replace("ours", "by hand")
        spent, work = statistics.median(times[name]), statistics.median(works[name])
        line = (
            f"{type(place).__name__:9} {name:14} {spent:7.2f} s {place.rows / spent:9,.0f} rows/s  work {work:6.2f} s"
        )
        if hand in times and hand != name:
            wall, processor = statistics.median(times[hand]), statistics.median(works[hand])
            line += f"   {spent / wall:4.2f} x by hand, work {work / processor:4.2f} x"
        print(line)
    for name, ours in (("ours", place.ours), ("ours, rows", place.ours_rows)):
        print(f"batches of {name}: {ours.batches}" if ours.batches else "", end="  ")
    print(f"\npeak memory of the command: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=["postgres"], default="postgres")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,  # the server may still be stopping
        postgres.attach(Path(folder) / "server") as server,
    ):
        asyncio.run(measure(Postgres(server.url, Path(folder), given.rows), given.only, given.rounds))


if __name__ == "__main__":
    main()
