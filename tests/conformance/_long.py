"""Tables and collections for long changes: filled, changed page by page as scripts do it, looked at from outside."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from migrator.core.batch import Checkpoint, Ledger, Page, Position, Walk
from migrator.core.run import Run
from tests._servers import sql
from tests.conformance._places import MongoPlace, Place, PostgresPlace

ONE = "orders"
"""Of one number as its key."""
TWO = "lines"
"""Of two fields as its key."""


class Long(ABC):
    """Two things to walk over in one place. `one` and `two` are the fields of their keys."""

    one: tuple[str, ...]
    two = ("shop", "line")

    def __init__(self, place: Place) -> None:
        self.place = place

    def run(self, fence: int = 1, **changes: Any) -> Run:
        """Return the pending run of a long change; its origin is `run1`."""
        return self.place.run(fence, transactional=False, cursor={"origin": "run1"}, **changes)

    def blank(self, run: Run, walk: Walk, high: Position | None) -> Checkpoint:
        """Return the checkpoint with which a loop begins."""
        return Checkpoint(origin="run1", name=walk.source, run_id=run.run_id, fence=run.fence, high=high)

    async def pages(
        self, walk: Walk, limit: int, low: Position | None = None, high: Position | None = None
    ) -> list[Page]:
        """Return all pages between two positions, or to the last key."""
        found: list[Page] = []
        upto = high or (await walk.extent()).high
        while upto is not None and (page := await walk.page(low, upto, limit)) is not None:
            found.append(page)
            low = page.upto
            assert len(found) <= 500, "the walk does not end"
        return found

    @abstractmethod
    def fill(self, keys: Sequence[int]) -> None:
        """Put rows with these keys into `orders`."""

    @abstractmethod
    def fill_two(self, keys: Sequence[tuple[int, str]]) -> None:
        """Put rows with these keys into `lines`."""

    @abstractmethod
    async def add(self, ctx: Any, source: str, page: Page) -> None:
        """Add one to `n` in every row of a page, as a script does."""

    @abstractmethod
    async def delete(self, ctx: Any, keys: Sequence[int]) -> None:
        """Delete rows of `orders`."""

    @abstractmethod
    def seen(self, source: str) -> Mapping[Any, int]:
        """Return `n` of every row by its key, in the order of the keys."""

    @abstractmethod
    def where(self) -> Any:
        """Return the condition that `n` is 0."""

    @abstractmethod
    def spoil(self) -> None:
        """Take the unique index of `lines` away."""

    def added(self, source: str) -> list[Any]:
        """Return the keys of the rows that were changed; one that was changed twice is not a key."""
        return [key if n == 1 else (key, n) for key, n in self.seen(source).items() if n]


class LongPostgres(Long):
    """Two tables."""

    one = ("id",)

    def fill(self, keys: Sequence[int]) -> None:
        sql(self.place.url, "CREATE TABLE IF NOT EXISTS orders (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0)")
        if keys:
            sql(self.place.url, f"INSERT INTO orders VALUES {', '.join(f'({key})' for key in keys)}")

    def fill_two(self, keys: Sequence[tuple[int, str]]) -> None:
        columns = "shop int NOT NULL, line text NOT NULL, n int NOT NULL DEFAULT 0"
        rows = ", ".join(f"({shop}, '{line}')" for shop, line in keys)
        unique = "CREATE UNIQUE INDEX lines_key ON lines (shop, line)"
        sql(self.place.url, f"CREATE TABLE lines ({columns})", unique, f"INSERT INTO lines VALUES {rows}")

    async def add(self, ctx: Any, source: str, page: Page) -> None:
        await ctx.execute(f"UPDATE {source} SET n = n + 1 WHERE {page.where}", *page.args)

    async def delete(self, ctx: Any, keys: Sequence[int]) -> None:
        await ctx.execute("DELETE FROM orders WHERE id = ANY ($1::bigint[])", list(keys))

    def seen(self, source: str) -> Mapping[Any, int]:
        names = ", ".join(self.one if source == ONE else self.two)
        rows = sql(self.place.url, f"SELECT n, {names} FROM {source} ORDER BY {names}")
        return {row[1] if source == ONE else tuple(row)[1:]: row["n"] for row in rows}

    def where(self) -> Any:
        return "n = 0"

    def spoil(self) -> None:
        sql(self.place.url, "DROP INDEX lines_key")


class LongMongo(Long):
    """Two collections."""

    one = ("_id",)

    def fill(self, keys: Sequence[int]) -> None:
        assert isinstance(self.place, MongoPlace)
        for db in self.place._db():
            if keys:
                db[ONE].insert_many([{"_id": key, "n": 0} for key in keys])

    def fill_two(self, keys: Sequence[tuple[int, str]]) -> None:
        assert isinstance(self.place, MongoPlace)
        for db in self.place._db():
            db[TWO].create_index([("shop", 1), ("line", 1)], unique=True, name="lines_key")
            db[TWO].insert_many([{"shop": shop, "line": line, "n": 0} for shop, line in keys])

    async def add(self, ctx: Any, source: str, page: Page) -> None:
        await ctx.db[source].update_many(page.where, {"$inc": {"n": 1}})

    async def delete(self, ctx: Any, keys: Sequence[int]) -> None:
        await ctx.db[ONE].delete_many({"_id": {"$in": list(keys)}})

    def seen(self, source: str) -> Mapping[Any, int]:
        assert isinstance(self.place, MongoPlace)
        names = self.one if source == ONE else self.two
        rows = [row for db in self.place._db() for row in db[source].find().sort([(name, 1) for name in names])]
        return {row["_id"] if source == ONE else (row["shop"], row["line"]): row["n"] for row in rows}

    def where(self) -> Any:
        return {"n": 0}

    def spoil(self) -> None:
        assert isinstance(self.place, MongoPlace)
        for db in self.place._db():
            db[TWO].drop_index("lines_key")


def long_of(place: Place) -> Long:
    """Return the long changes of a place."""
    return LongPostgres(place) if isinstance(place, PostgresPlace) else LongMongo(place)


def moved(checkpoint: Checkpoint, page: Page) -> Checkpoint:
    """Return the checkpoint behind a page."""
    return replace(checkpoint, cursor=page.upto, rows=checkpoint.rows + page.size, batches=checkpoint.batches + 1)


async def batch(long: Long, ctx: Any, ledger: Ledger, walk: Walk, old: Checkpoint, limit: int) -> Checkpoint:
    """Do one batch over `orders` and return the checkpoint behind it."""
    assert old.high is not None
    page = await walk.page(old.cursor, old.high, limit)
    assert page is not None
    new = moved(old, page)
    async with ledger.moved(old, new):
        await long.add(ctx, walk.source, page)
    return new
