"""One empty database of each kind, with what the tests must do behind the adapter's back: look, set, take away."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from migrator.adapters import memory
from migrator.core.url import Url
from migrator.testing import LIMIT, NoDatabases, Place, Row
from tests._servers import sql

__all__ = ["LIMIT", "MemoryPlace", "MongoPlace", "NoDatabases", "Place", "PostgresPlace"]


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
            db.script_run_lock.update_one({"_id": "tracker"}, {"$set": {"version": version}})

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
            db.script_run_lock.update_one({"_id": "lease"}, {"$set": {"expires": datetime(1970, 1, 1, tzinfo=UTC)}})


def _row(row: Mapping[str, Any]) -> Row:
    return row["run_id"], str(row["status"]), str(row["effect"]), row["superseded_by"]
