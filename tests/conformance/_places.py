"""One empty database of each kind, with what the tests must do behind the adapter's back: look, set, take away."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from migrator.adapters import memory
from migrator.core.protocols import Adapter, Databases, Owner, Session
from migrator.core.revision import Direction
from migrator.core.run import Effect, Run, Status
from migrator.core.url import Url
from tests._servers import sql

LIMIT = 20.0
"""Seconds that a step of a test may take; none comes near."""

Row = tuple[str, str, str, str]
"""run_id, status, effect, superseded_by."""


class NoDatabases(Databases):
    """For scripts that open no other database."""

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[Any]:
        yield pytest.fail(f"nobody asked for {name}")


class Place(ABC):
    """An empty database. What is here opens connections of its own and closes them again."""

    module: Any

    def __init__(self, url: str) -> None:
        self.url = url
        self.made: list[Adapter] = []

    def adapter(self, url: str = "", **options: Any) -> Adapter:
        """Return an adapter, which the test must leave closed."""
        made: Adapter = self.module.adapter("main", Url.parse(url or self.url, "the test"), **options)
        self.made.append(made)
        return made

    def owner(self, user: str = "ann") -> Owner:
        """Return somebody who wants the lock."""
        return Owner(token=uuid4().hex, host="pod-1", pid=7, user=user, release="1.2")

    def run(self, fence: int = 1, **changes: Any) -> Run:
        """Return a pending run of revision aa11."""
        run = Run(run_id=uuid4().hex, database="main", revision="aa11", title="add", path="aa11.py", fence=fence)
        return replace(run, **changes)

    @staticmethod
    def done(run: Run, **changes: Any) -> Run:
        """Return the run as a success."""
        return run.moved(Status.SUCCESS, Effect.FULL, **changes)

    @staticmethod
    def failed(run: Run, effect: Effect = Effect.NONE, **changes: Any) -> Run:
        """Return the run as a failure."""
        return run.moved(Status.FAILED, effect, **changes)

    def step(self, session: Session, run: Run, timeout: float = LIMIT) -> AbstractAsyncContextManager[Any]:
        """Open a step."""
        return session.step(run, timeout=timeout, databases=NoDatabases())

    async def applied(self, session: Session, run: Run) -> Run:
        """Start and finish a run with success."""
        await session.tracker.start(run)
        await session.tracker.finish(done := self.done(run))
        return done

    async def taken_down(self, session: Session, run: Run) -> Run:
        """Run the downgrade of a revision."""
        return await self.applied(
            session, self.run(revision=run.revision, source=run.source, direction=Direction.DOWNGRADE)
        )

    @abstractmethod
    def create(self) -> None:
        """Make what `write` needs."""

    @abstractmethod
    async def write(self, ctx: Any, value: str) -> None:
        """Write a value, as a script does."""

    @abstractmethod
    async def read(self, ctx: Any) -> list[str]:
        """Read the values, as a script does."""

    @abstractmethod
    def values(self) -> list[str]:
        """Return the committed values, from outside."""

    @abstractmethod
    def rows(self) -> list[Row]:
        """Return all committed rows of the tracker in order, from outside."""

    @abstractmethod
    async def sleep(self, ctx: Any) -> None:
        """Let the server be busy for a minute."""

    def busy(self) -> bool:
        """Say whether the server has begun to sleep."""
        return True

    @abstractmethod
    def set_version(self, version: int) -> None:
        """Write another version into the tracker."""

    @abstractmethod
    def lapse(self) -> None:
        """Take the lock from whoever holds it, who does not notice; it is free then."""

    def connections(self) -> int:
        """Return how many connections of ours the server knows."""
        return 0

    def keep(self, origin: str) -> int:
        """Leave what a long change keeps beside its runs, and return how many rows that is."""
        del origin
        return 0

    def kept(self, origin: str) -> int:
        """Return how many rows are kept of a long change."""
        del origin
        return 0


class MemoryPlace(Place):
    """A store of this program."""

    module = memory

    def create(self) -> None:
        pass

    @property
    def _store(self) -> memory.Store:
        return memory.store(Url.parse(self.url, "the test").database)

    async def write(self, ctx: Any, value: str) -> None:
        ctx.store[value] = True

    async def read(self, ctx: Any) -> list[str]:
        return sorted(ctx.store)

    def values(self) -> list[str]:
        return sorted(self._store.things)

    def rows(self) -> list[Row]:
        return [_row(vars(run)) for run in (self._store.rows or {}).values()]

    async def sleep(self, ctx: Any) -> None:
        import asyncio

        await asyncio.sleep(60)

    def set_version(self, version: int) -> None:
        self._store.version = version

    def lapse(self) -> None:
        self._store.owner = None


class PostgresPlace(Place):
    """A PostgreSQL database."""

    @property
    def module(self) -> Any:
        from migrator.adapters import postgres

        return postgres

    def create(self) -> None:
        sql(self.url, "CREATE TABLE things (name text PRIMARY KEY)")

    async def write(self, ctx: Any, value: str) -> None:
        await ctx.execute("INSERT INTO things VALUES ($1)", value)

    async def read(self, ctx: Any) -> list[str]:
        return [row["name"] for row in await ctx.fetch("SELECT name FROM things ORDER BY name")]

    def values(self) -> list[str]:
        return [row["name"] for row in sql(self.url, "SELECT name FROM things ORDER BY name")]

    def rows(self) -> list[Row]:
        if not sql(self.url, "SELECT to_regclass('script_run_tracker')")[0][0]:
            return []
        return [_row(row) for row in sql(self.url, "SELECT * FROM script_run_tracker ORDER BY seq")]

    async def sleep(self, ctx: Any) -> None:
        await ctx.execute("SELECT pg_sleep(60)")

    def busy(self) -> bool:
        text = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
        return bool(sql(self.url, text)[0][0])

    def set_version(self, version: int) -> None:
        sql(self.url, f"UPDATE script_run_lock SET version = {version}")

    def lapse(self) -> None:
        """End the holder's connection: the lock lives exactly as long."""
        here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
        held = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = {here}"
        sql(self.url, f"SELECT pg_terminate_backend(pid, 10000) FROM ({held}) AS held")

    def connections(self) -> int:
        """Return how many there are when those that are closing have gone."""
        here = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        wait = f"""
            DO $$ BEGIN
                FOR turn IN 1..200 LOOP
                    EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE {here});
                    PERFORM pg_sleep(0.02), pg_stat_clear_snapshot();
                END LOOP;
            END $$
        """
        return int(sql(self.url, wait, f"SELECT count(*) FROM pg_stat_activity WHERE {here}")[0][0])

    def keep(self, origin: str) -> int:
        row = f"VALUES ('{origin}', 'loop', '01a'"
        sql(
            self.url,
            f"INSERT INTO script_run_failures (origin, name, run_id, key, error) {row}, '1', 'no')",
            f"INSERT INTO script_run_checkpoint (origin, name, run_id, slice, fence) {row}, 0, 1)",
        )
        return 2

    def kept(self, origin: str) -> int:
        tables = ("script_run_failures", "script_run_checkpoint")
        text = " UNION ALL ".join(f"SELECT origin FROM {table} WHERE origin = '{origin}'" for table in tables)
        return len(sql(self.url, text))


class MongoPlace(Place):
    """A MongoDB database."""

    @property
    def module(self) -> Any:
        from migrator.adapters import mongo

        return mongo

    def create(self) -> None:
        for db in self._db():
            db.create_collection("things")

    def _db(self) -> Iterator[Any]:
        """Yield the database once, over a client that is closed afterwards."""
        import pymongo

        client: pymongo.MongoClient[dict[str, Any]]
        with pymongo.MongoClient(self.url, tz_aware=True) as client:
            yield client.get_default_database()

    async def write(self, ctx: Any, value: str) -> None:
        await ctx.db.things.insert_one({"_id": value})

    async def read(self, ctx: Any) -> list[str]:
        return [row["_id"] async for row in ctx.db.things.find().sort("_id")]

    def values(self) -> list[str]:
        return [row["_id"] for db in self._db() for row in db.things.find().sort("_id")]

    def rows(self) -> list[Row]:
        found = [row for db in self._db() for row in db.script_run_tracker.find().sort("seq")]
        return [_row({**row, "run_id": row["_id"]}) for row in found]

    async def sleep(self, ctx: Any) -> None:
        await self.write(ctx, "it sleeps where there is something to look at")
        await ctx.db.things.find_one({"$where": "for (let turn = 0; turn < 600; turn++) sleep(100); return true"})

    def busy(self) -> bool:
        wanted = [{"$currentOp": {}}, {"$match": {"ns": f"{self.url.partition('?')[0].rpartition('/')[2]}.things"}}]
        return any(list(db.client.admin.aggregate(wanted)) for db in self._db())

    def set_version(self, version: int) -> None:
        for db in self._db():
            db.migrator_lock.update_one({"_id": "tracker"}, {"$set": {"version": version}})

    def keep(self, origin: str) -> int:
        for db in self._db():
            db.script_run_failures.insert_one({"origin": origin, "name": "loop", "key": 1})
            db.script_run_checkpoint.insert_one({"origin": origin, "name": "loop", "slice": 0})
        return 2

    def kept(self, origin: str) -> int:
        beside = ("script_run_failures", "script_run_checkpoint")
        return sum(db[name].count_documents({"origin": origin}) for db in self._db() for name in beside)

    def lapse(self) -> None:
        for db in self._db():
            db.migrator_lock.update_one({"_id": "lease"}, {"$set": {"expires": datetime(1970, 1, 1, tzinfo=UTC)}})


def _row(row: Mapping[str, Any]) -> Row:
    return row["run_id"], str(row["status"]), str(row["effect"]), row["superseded_by"]
