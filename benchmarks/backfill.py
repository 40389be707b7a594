"""A backfill of a million rows or documents: ctx.batches beside one UPDATE (update_many), and beside a loop by hand.

The loop by hand is what a careful person writes: pages by key, as large as ours were, a short transaction for each (on
MongoDB none), and no checkpoint. "rows" reads the rows, computes in Python and writes them back. Each way begins with
the same fresh table, in turns, several rounds on one embedded server; the ratios are of medians taken in this one run.
"work" is the processor time of the server and the program together, less what the command takes where there is nothing
to do; a busy machine stretches it less. `--rows 5000000 --only ours` shows that the memory of the command does not grow
with the table.
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
from pymongo import AsyncMongoClient, UpdateOne

from migrator.servers import mongo, postgres

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
PIPELINE = [{"$set": {"total": {"$multiply": ["$quantity", "$price"]}}}]


class Ours:
    """The command on a project of one revision, as a program of its own."""

    def __init__(self, url: str, root: Path, kind: str, body: str) -> None:
        address = {"postgres": "DATABASE_URL", "mongo": "MONGODB_URI"}[kind]
        self._environ = {**os.environ, address: url}
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


class Place:
    """A table or collection, and the ways to fill a column of it."""

    def __init__(self, url: str, root: Path, rows: int, kind: str, fill: str) -> None:
        self.url = url
        self.rows = rows
        self.ours = Ours(url, root / "set", kind, f"            {fill}")
        self.ours_rows = Ours(url, root / "rows", kind, ROWS)

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


class Postgres(Place):
    """One table on one PostgreSQL."""

    def __init__(self, url: str, root: Path, rows: int) -> None:
        super().__init__(
            url, root, rows, "postgres", f'await ctx.execute(f"{FILL} WHERE {{batch.where}}", *batch.args)'
        )

    async def fresh(self) -> None:
        """Make it anew, as one that has been there for a while."""
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
        """Return the processor time of the server, this program and its children so far, in seconds."""
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


class Mongo(Place):
    """One collection on one MongoDB."""

    def __init__(self, url: str, root: Path, rows: int) -> None:
        super().__init__(url, root, rows, "mongo", f"await ctx.db.orders.update_many(batch.where, {PIPELINE})")
        self.client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url)
        self.db = self.client.get_default_database()

    async def fresh(self) -> None:
        """Make it anew, as one that has been there for a while."""
        await self.client.drop_database(self.db.name)
        for start in range(0, self.rows, 50_000):
            numbers = range(start, min(start + 50_000, self.rows))
            await self.db.orders.insert_many(
                [{"_id": n, "quantity": n % 7 + 1, "price": n % 1000, "note": "x" * 40} for n in numbers]
            )
        await self.client.admin.command("fsync")

    async def check(self) -> None:
        """Every row must have its total."""
        right = {"$expr": {"$eq": ["$total", {"$multiply": ["$quantity", "$price"]}]}}
        assert await self.db.orders.count_documents(right) == self.rows

    async def work(self) -> float:
        """Return the processor time of the server, this program and its children so far, in seconds."""
        return spent_by(psutil.Process((await self.client.admin.command("serverStatus"))["pid"]))

    async def at_once(self) -> float:
        """Update all in one statement."""
        began = time.perf_counter()
        await self.db.orders.update_many({}, PIPELINE)
        return time.perf_counter() - began

    async def by_hand(self) -> float:
        """Update page by page."""

        async def fill(page: dict[str, Any]) -> None:
            await self.db.orders.update_many(page, PIPELINE)

        return await self._loop(fill, self.rows // self.ours.batches[-1])

    async def by_hand_rows(self) -> float:
        """Read and write page by page."""

        async def fill(page: dict[str, Any]) -> None:
            rows = self.db.orders.find(page, {"quantity": 1, "price": 1})
            changes = [
                UpdateOne({"_id": row["_id"]}, {"$set": {"total": row["quantity"] * row["price"]}})
                async for row in rows
            ]
            await self.db.orders.bulk_write(changes, ordered=False)

        return await self._loop(fill, self.rows // self.ours_rows.batches[-1])

    async def _loop(self, fill: Callable[[dict[str, Any]], Coroutine[Any, Any, None]], size: int) -> float:
        began, after = time.perf_counter(), -1
        while after < self.rows - 1:
            keys = self.db.orders.find({"_id": {"$gt": after}}, {"_id": 1}).sort("_id")
            found = await keys.skip(size - 1).limit(1).to_list()
            edge = found[0]["_id"] if found else self.rows - 1
            await fill({"_id": {"$gt": after, "$lte": edge}})
            after = edge
        return time.perf_counter() - began


async def measure(place: Place, only: str, rounds: int) -> None:
    """Run the ways in turns and print what they took."""
    ways = {name: way for name, way in place.ways.items() if not only or name in only.split("+")}
    ours = {"ours": place.ours, "ours, rows": place.ours_rows}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            await place.fresh()
            before = await place.work()
            spent, after = await way(), await place.work()
            idle = 0.0
            if name in ours:
                ours[name].idle()
                idle = await place.work() - after
            times[name].append((spent, after - before - idle))
            await place.check()
    for name, both in times.items():
        spent, work = (statistics.median(column) for column in zip(*both, strict=True))
        line = (
            f"{type(place).__name__:8} {name:13} {spent:7.2f} s {place.rows / spent:9,.0f} rows/s  work {work:6.2f} s"
        )
        hand = times.get(name.replace("ours", "by hand"), both)
        if hand is not both:
            wall, least = (statistics.median(column) for column in zip(*hand, strict=True))
            line += f"   {spent / wall:4.2f} x by hand, work {work / least:4.2f} x"
        print(line + (f"   batches {ours[name].batches}" if name in ours else ""))
    print(f"peak memory of the command: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["postgres", "mongo"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    server, place = {"postgres": (postgres, Postgres), "mongo": (mongo, Mongo)}[given.kind]

    async def measured(url: str, folder: str) -> None:
        await measure(place(url, Path(folder), given.rows), given.only, given.rounds)

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,  # the server may still be stopping
        server.attach(Path(folder) / "server") as attached,
    ):
        asyncio.run(measured(attached.url, folder))


if __name__ == "__main__":
    main()
