"""How long after SIGKILL of the holder the next deployer starts work: idle, and in the middle of a long statement.

Each row is the median of three rounds on an embedded server, from the signal to the first line of the waiting
deployer's own step. A session lock goes with its connection; a lease runs out on the server's clock, 15 s after it was
last renewed.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pymongo

from migrator.servers import mongo, postgres
from tests._servers import new_name, sql, with_database
from tests.faults import corpus
from tests.faults._pgbouncer import Pooler
from tests.faults.deployer import Deployer, until

ROUNDS = 3
LONG = 60
"""Seconds that the holder's step would take."""

RUNNING = f"SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep({LONG})' AND datname = current_database()"


@dataclass(frozen=True)
class Place:
    """A kind of lock: the address of deployers, whether their long statement runs, and two ways to be long at work."""

    name: str
    url: Callable[[str], str]
    look: Callable[[str], bool]
    idle: str
    busy: str


def on_postgres(name: str, server: str, through: Callable[[str], str]) -> Place:
    return Place(
        name,
        through,
        lambda url: bool(sql(with_database(server, url.rpartition("/")[2]), RUNNING)),
        f"await ctx.execute('CREATE TABLE half ()'); await asyncio.sleep({LONG})",
        f"await ctx.execute('SELECT pg_sleep({LONG})')",
    )


def on_mongo() -> Place:
    def runs(url: str) -> bool:
        client: pymongo.MongoClient[dict[str, object]]
        with pymongo.MongoClient(url) as client:
            found = client.admin.aggregate(
                [{"$currentOp": {}}, {"$match": {"op": "update", "secs_running": {"$gte": 1}}}]
            )
            return bool(list(found))

    return Place(
        "MongoDB, lease",
        lambda url: url,
        runs,
        f"await ctx.db.half.insert_one({{}}); await asyncio.sleep({LONG})",
        f"await ctx.db.items.insert_many([{{'_id': i}} for i in range({LONG})]); "
        "await ctx.db.items.update_many({'$where': 'sleep(1000) || true'}, {'$set': {'n': 1}})",
    )


def took(place: Place, url: str, folder: Path, *, busy: bool) -> float:
    """Kill a holder at work, and return the seconds until the deployer that waits is at work."""
    corpus.configure(folder, place.url(url))
    first, second = folder / "first", folder / "second"
    constants = {"transaction": not (busy and url.startswith("mongodb")), "rerunnable": True}
    lines = [
        "import asyncio, pathlib, time",
        f"first, second = pathlib.Path({str(first)!r}), pathlib.Path({str(second)!r})",
        "if first.exists(): return second.write_text(str(time.monotonic()))",
        "first.touch()",
        place.busy if busy else place.idle,
    ]
    corpus.revision(folder, "b1", None, lines, constants=constants)
    with Deployer(folder, "upgrade", "head") as holder, ExitStack() as stack:
        until(lambda: first.exists() or not holder.runs, "the holder is at work")
        waiter = stack.enter_context(Deployer(folder, "upgrade", "head"))
        until(lambda: "waiting" in waiter.stderr or not waiter.runs, "the other one waits")
        if busy:
            until(lambda: place.look(url), "the long statement runs")
        began = time.monotonic()
        holder.kill()
        ended = waiter.wait()
    assert ended.code == 0, ended
    return float(second.read_text()) - began


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        pg = stack.enter_context(postgres.attach(root / "postgres")).url
        documents = stack.enter_context(mongo.attach(root / "mongo")).url
        pooler = stack.enter_context(Pooler(pg))
        places = {
            on_postgres("PostgreSQL, session lock", pg, lambda url: url): pg,
            on_postgres("PostgreSQL behind pgbouncer, lease", pg, pooler.url): pg,
            on_mongo(): documents,
        }
        for place, server in places.items():
            for busy in (False, True):
                times = []
                for _ in range(ROUNDS):
                    url = with_database(server, new_name())
                    if server == pg:
                        sql(server, f"CREATE DATABASE {url.rpartition('/')[2]}")
                    times.append(took(place, url, root / new_name(), busy=busy))
                what = "in a long statement" if busy else "idle in its step"
                each = ", ".join(f"{one:.2f}" for one in sorted(times))
                print(f"{place.name:36} {what:20} {statistics.median(times):6.2f} s   ({each})", flush=True)


if __name__ == "__main__":
    main()
