"""The worked example in revisions/, run by the real command on real servers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped,unused-ignore]
import pytest
from pymongo import MongoClient

from migrator.config import load
from migrator.core.errors import DependencyMissing
from migrator.runtime import directory
from migrator.runtime.entries import HEADS_LOCK
from migrator.runtime.migrator import Migrator
from migrator.servers import mongo, postgres

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "migrator.toml"
OURS = ("script_", "migrator_")
VERIFY_FAILED = 13
REVISIONS = {
    revision.id: revision
    for database in load(str(CONFIG), {}).databases.values()
    for revision in directory.read(database, ROOT)
}

# What the server says that there is in the public schema, without the tracker's own tables. Columns have no position
# here: one that went and came back stands last, and nothing may depend on that.
CATALOG = {
    "columns": """
        SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity::text,
               pg_get_expr(adbin, adrelid)
          FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid
          LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
         WHERE relkind IN ('r', 'v', 'm') AND attnum > 0 AND NOT attisdropped
    """,
    "relations": "SELECT relname, relkind::text FROM pg_class WHERE true",
    "indexes": """
        SELECT relname, pg_get_indexdef(indexrelid), indisvalid FROM pg_index JOIN pg_class ON indrelid = pg_class.oid
         WHERE true
    """,
    "constraints": """
        SELECT relname, conname, pg_get_constraintdef(pg_constraint.oid), convalidated
          FROM pg_constraint JOIN pg_class ON conrelid = pg_class.oid WHERE true
    """,
    "triggers": """
        SELECT relname, pg_get_triggerdef(pg_trigger.oid), tgenabled::text
          FROM pg_trigger JOIN pg_class ON tgrelid = pg_class.oid WHERE NOT tgisinternal
    """,
    "views": "SELECT relname, pg_get_viewdef(oid) FROM pg_class WHERE relkind IN ('v', 'm')",
}
NAMED = {
    "functions": "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "types": """
        SELECT typname, (SELECT array_agg(enumlabel::text ORDER BY enumsortorder)
                           FROM pg_enum WHERE enumtypid = pg_type.oid)
          FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd', 'r')
    """,
}
NOT_OURS = """
    AND relnamespace = 'public'::regnamespace AND relname !~ '^(script_|migrator_)'
"""

Snapshot = dict[str, Any]


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        server = postgres.attach(tmp_path_factory.mktemp("example") / "postgres")
    except DependencyMissing as error:
        pytest.skip(error.message)
    with server:
        yield server.url


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        server = mongo.attach(tmp_path_factory.mktemp("example") / "mongo")
    except DependencyMissing as error:
        pytest.skip(error.message)
    with server:
        yield server.url


class Shop:
    """The two databases of the example, empty at first, and the command that changes them."""

    def __init__(self, postgres_url: str, mongo_url: str) -> None:
        self.name = f"shop_{uuid4().hex[:12]}"
        self._server = postgres_url
        self.environ = {
            "DATABASE_URL": urlunsplit(urlsplit(postgres_url)._replace(path=f"/{self.name}")),
            "MONGODB_URI": urlunsplit(urlsplit(mongo_url)._replace(path=f"/{self.name}")),
        }

    def migrator(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        """Run the command as a person would, from another folder."""
        command = [sys.executable, "-m", "migrator", *argv, "--config", str(CONFIG)]
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
        return subprocess.run(
            command, check=False, capture_output=True, text=True, cwd="/", timeout=120, env={**kept, **self.environ}
        )

    def done(self, *argv: str) -> str:
        """Run the command, which must succeed, and return what it printed."""
        ended = self.migrator(*argv)
        assert ended.returncode == 0, f"{argv}: {ended.stdout}\n{ended.stderr}"
        return ended.stdout

    async def create(self) -> None:
        await self._on_server(f"CREATE DATABASE {self.name}")

    async def drop(self) -> None:
        await self._on_server(f"DROP DATABASE {self.name} WITH (FORCE)")
        with self.client() as client:
            client.drop_database(self.name)

    async def sql(self, text: str) -> list[Any]:
        connection = await asyncpg.connect(self.environ["DATABASE_URL"], statement_cache_size=0)
        try:
            if ";" in text:
                return [await connection.execute(text)]
            return list(await connection.fetch(text))
        finally:
            await connection.close()

    def client(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.environ["MONGODB_URI"], tz_aware=True)

    async def break_it(self, how: "str | dict[str, Any]") -> None:
        """Run a statement in PostgreSQL, or a command in MongoDB."""
        if isinstance(how, str):
            await self.sql(how)
            return
        with self.client() as client:
            answer = client[self.name].command(how)
            assert not answer.get("writeErrors"), answer

    async def schema(self) -> Snapshot:
        """Return all that both servers say about their structure."""
        found: Snapshot = {}
        for name, query in {**{key: text + NOT_OURS for key, text in CATALOG.items()}, **NAMED}.items():
            found[name] = sorted(tuple(row) for row in await self.sql(query))
        with self.client() as client:
            db = client[self.name]
            for each in db.list_collections():
                if not each["name"].startswith(OURS):
                    indexes = {name: dict(index) for name, index in db[each["name"]].index_information().items()}
                    found[f"collection {each['name']}"] = (each["type"], each["options"], indexes)
        return {name: value for name, value in found.items() if value}

    def authors(self) -> dict[Any, Any]:
        with self.client() as client:
            return {each["_id"]: each["author"] for each in client[self.name].reviews.find({}, {"author": True})}

    async def _on_server(self, statement: str) -> None:
        connection = await asyncpg.connect(self._server)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest.fixture
async def shop(postgres_server: str, mongo_server: str) -> Any:
    """Give two empty databases; they are dropped afterwards."""
    one = Shop(postgres_server, mongo_server)
    await one.create()
    yield one
    await one.drop()


async def test_up_and_down_and_up_again(shop: Shop) -> None:
    """From nothing to the head, one step back in each database, to the base and to the head again: all is the same."""
    assert await shop.schema() == {}
    shop.done("upgrade")
    shop.done("verify")
    head = await shop.schema()
    assert {"columns", "types", "views", "collection reviews", "collection page_views"} <= head.keys()

    shop.done("downgrade", "main:-1")
    shop.done("downgrade", "events:-1")
    assert await shop.schema() != head
    shop.done("upgrade")
    assert await shop.schema() == head

    shop.done("downgrade", "base")
    assert await shop.schema() == {}
    shop.done("upgrade")
    shop.done("verify")
    assert await shop.schema() == head


async def test_every_step_down_undoes_its_step_up(shop: Shop) -> None:
    """After each downgrade both databases look as before the upgrade; every verify agrees at every point of the way."""
    async with Migrator.open(load(str(CONFIG), shop.environ)) as migrator:
        steps = (await migrator.upgrade(dry_run=True)).plan.steps
        before = []
        for step in steps:
            before.append(await shop.schema())
            await migrator.upgrade(str(step.key))
            assert all(answer.ok for answer in await migrator.verify()), step.key
        for step, schema in zip(reversed(steps), reversed(before), strict=True):
            await migrator.downgrade(f"{step.key}-1")
            assert await shop.schema() == schema, step.key
            assert all(answer.ok for answer in await migrator.verify()), step.key


async def test_what_says_rerunnable_may_run_twice(shop: Shop) -> None:
    """Every revision without a transaction runs a second time right after the first, and verify still agrees."""
    async with Migrator.open(load(str(CONFIG), shop.environ)) as migrator:
        for step in (await migrator.upgrade(dry_run=True)).plan.steps:
            await migrator.upgrade(str(step.key))
            header = step.revision.header
            assert header.rerunnable or header.transaction is not False, step.key
            if header.rerunnable:
                await migrator.upgrade(str(step.key), force=True)
        assert all(answer.ok for answer in await migrator.verify())


async def test_one_step_down_is_never_a_guess(shop: Shop) -> None:
    """With two databases `downgrade -1` names the last step of each and what to type, and changes nothing."""
    shop.done("upgrade", "185fc0ec3f16", "459179ab3f74")
    refused = shop.migrator("downgrade", "-1")
    assert refused.returncode == 3
    assert "migrator downgrade main:-1" in refused.stderr
    assert "migrator downgrade events:-1" in refused.stderr
    shop.done("verify")


async def test_a_revision_that_another_database_needs_stays(shop: Shop) -> None:
    """The withdrawn reviews do not come back while the ratings in PostgreSQL rest on them."""
    shop.done("upgrade")
    refused = shop.migrator("downgrade", "events:22f3e35ec910-1")
    assert refused.returncode == 2
    assert "24adebbe77f2" in refused.stderr
    shop.done("verify")


async def test_both_names_of_a_column_say_the_same(shop: Shop) -> None:
    """Between the second column and the end of the first, old and new copies of the application see one name."""
    shop.done("upgrade", "f628ed7dad34")
    await shop.sql("INSERT INTO customers (email, fullname) VALUES ('old@example.com', 'Old Way')")
    await shop.sql("INSERT INTO customers (email, full_name) VALUES ('new@example.com', 'New Way')")
    await shop.sql("UPDATE customers SET fullname = 'Old Writes' WHERE email = 'new@example.com'")
    await shop.sql("UPDATE customers SET full_name = 'New Writes' WHERE email = 'old@example.com'")
    rows = await shop.sql("SELECT fullname, full_name FROM customers WHERE email ~ '^(old|new)@' ORDER BY email")
    assert [tuple(row) for row in rows] == [("Old Writes",) * 2, ("New Writes",) * 2]

    shop.done("upgrade", "c853484eca87")
    await shop.sql("INSERT INTO customers (email, full_name) VALUES ('late@example.com', 'Late Comer')")
    shop.done("downgrade", "main:-1")
    [late] = await shop.sql("SELECT fullname, full_name FROM customers WHERE email = 'late@example.com'")
    assert tuple(late) == ("Late Comer", "Late Comer")
    shop.done("verify")


async def test_names_survive_the_split(shop: Shop) -> None:
    """Fifty thousand authors are split and joined again, and each has the name that it had."""
    shop.done("upgrade", "932ff5464c51")
    authors = shop.authors()
    assert len(authors) == 50_000
    assert {"Teapot", "Ada de la Cruz"} <= set(authors.values())
    shop.done("upgrade", "20f034deb7f9")
    with shop.client() as client:
        reviews = client[shop.name].reviews
        assert reviews.find_one({"last_name": "de la Cruz", "first_name": "Ada"})
        assert reviews.count_documents({"first_name": "Teapot", "last_name": ""}) == 50_000 // 97
        assert reviews.count_documents({"$or": [{"_space": {"$exists": True}}, {"_length": {"$exists": True}}]}) == 0
    shop.done("downgrade", "events:-1")
    assert shop.authors() == authors


async def test_an_interrupted_split_goes_on(shop: Shop) -> None:
    """A revision without a transaction meets documents of both shapes when it runs again, and finishes the rest."""
    shop.done("upgrade", "932ff5464c51")
    with shop.client() as client:
        db = client[shop.name]
        db.command("collMod", "reviews", validator={})
        some = [each["_id"] for each in db.reviews.find({}, {"_id": True}).limit(7_000)]
        half = {"$set": {"first_name": "Done", "last_name": "Before"}, "$unset": {"author": True}}
        db.reviews.update_many({"_id": {"$in": some}}, half)
        shop.done("upgrade", "20f034deb7f9")
        assert db.reviews.count_documents({"first_name": "Done", "last_name": "Before"}) == 7_000
        assert db.reviews.count_documents({"author": {"$exists": True}}) == 0


async def test_the_seeded_reviews_are_the_same_everywhere(shop: Shop) -> None:
    """What a revision writes does not depend on the day or on chance: taken down and up, the documents are equal."""
    hashes = []
    for _ in range(2):
        shop.done("upgrade", "932ff5464c51")
        with shop.client() as client:
            hashes.append(client[shop.name].command("dbHash")["collections"]["reviews"])
        shop.done("downgrade", "base")
    assert hashes[0] == hashes[1]


def test_every_revision_can_go_down_and_be_verified() -> None:
    """Each has all three functions and a name made of date, id and title; the last of each history is in heads.lock."""
    for revision in REVISIONS.values():
        assert revision.reversible, revision.path
        assert revision.verifiable, revision.path
        path = Path(revision.path)
        assert path.stem[10:] == f"_{revision.id}_{directory.slug(revision.title)}", revision.path
    for database in load(str(CONFIG), {}).databases.values():
        own = [revision for revision in REVISIONS.values() if revision.database == database.name]
        parents = {parent for revision in own for parent in revision.header.down_revision}
        heads = sorted(f"{revision.id}  {revision.title}\n" for revision in own if revision.id not in parents)
        assert (database.revisions / HEADS_LOCK).read_text() == "".join(heads)


# Forgets the quantities.
FORGETFUL_VIEW = """
    CREATE OR REPLACE VIEW order_totals AS
    SELECT orders.id AS order_id, customer_id, status, placed_at, sum(unit_price_cents) AS total_cents
      FROM orders LEFT JOIN order_lines ON order_id = orders.id GROUP BY orders.id
"""

# For each revision, ways to break what it made: SQL for PostgreSQL, a command for MongoDB.
SABOTAGE: list[tuple[str, "str | dict[str, Any]"]] = [
    ("185fc0ec3f16", "ALTER TABLE customers DROP CONSTRAINT customers_email_key"),
    ("185fc0ec3f16", "DROP TABLE products"),
    ("6bddc25f31a3", "ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey"),
    ("6bddc25f31a3", "ALTER TABLE orders ALTER status DROP DEFAULT, ALTER status TYPE text"),
    ("6bddc25f31a3", "ALTER TYPE order_status RENAME VALUE 'paid' TO 'settled'"),
    ("c8310cbcd9cf", "DELETE FROM products WHERE sku = 'POT-IRON'"),
    ("ca4e9ba21aa7", "DELETE FROM order_lines USING orders WHERE order_id = orders.id AND status = 'paid'"),
    ("42a42d0811b4", "DROP VIEW order_totals"),
    ("42a42d0811b4", FORGETFUL_VIEW),
    ("7b2fc2dc74e6", "DROP INDEX orders_open_idx"),
    ("7b2fc2dc74e6", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_open_idx'::regclass"),
    ("106c108abc45", "ALTER TABLE customers DISABLE TRIGGER customers_keep_names"),
    ("106c108abc45", "ALTER TABLE customers DROP COLUMN full_name"),
    ("df20a286c70e", "ALTER TABLE customers DISABLE TRIGGER USER; UPDATE customers SET full_name = NULL"),
    ("df20a286c70e", "ALTER TABLE customers DISABLE TRIGGER USER; UPDATE customers SET full_name = 'Nobody'"),
    ("f628ed7dad34", "ALTER TABLE customers ALTER full_name DROP NOT NULL"),
    ("c853484eca87", "ALTER TABLE customers ADD COLUMN fullname text"),
    ("24adebbe77f2", "UPDATE products SET rating = NULL"),
    ("24adebbe77f2", "ALTER TABLE products DROP CONSTRAINT products_rating_check"),
    ("459179ab3f74", {"collMod": "reviews", "validator": {}}),
    ("459179ab3f74", {"collMod": "reviews", "validationAction": "warn"}),
    ("9d27e2c535de", {"dropIndexes": "reviews", "index": "reviews_reader_key"}),
    ("932ff5464c51", {"delete": "reviews", "deletes": [{"q": {"rating": 1}, "limit": 0}]}),
    (
        "20f034deb7f9",
        {
            "update": "reviews",
            "updates": [{"q": {"sku": "TEA-OOLONG"}, "u": {"$set": {"author": "Both Shapes"}}, "multi": True}],
        },
    ),
    ("20f034deb7f9", {"collMod": "reviews", "validator": {}}),
    ("8bd717778ebb", {"delete": "reviews", "deletes": [{"q": {"rating": 4}, "limit": 1}]}),
    ("8bd717778ebb", {"drop": "withdrawn_reviews"}),
    (
        "22f3e35ec910",
        {
            "update": "reviews",
            "updates": [{"q": {"sku": "CUP-BLUE"}, "u": {"$set": {"email": "again@praise.example"}}}],
        },
    ),
    ("97dd80f5e721", {"collMod": "page_views", "index": {"name": "page_views_ttl", "expireAfterSeconds": 60}}),
]


def test_no_verify_is_left_out() -> None:
    """The table of sabotage knows every revision."""
    assert {revision for revision, _ in SABOTAGE} == set(REVISIONS)


@pytest.mark.parametrize(("revision", "how"), SABOTAGE)
async def test_verify_really_fails(shop: Shop, revision: str, how: "str | dict[str, Any]") -> None:
    """A verify says yes in its upgrade, and no (exit 13, with the reason) once what it asks about is broken."""
    shop.done("upgrade", revision)
    await shop.break_it(how)
    ended = shop.migrator("verify", revision, "--json")
    assert ended.returncode == VERIFY_FAILED, f"{ended.stdout}\n{ended.stderr}"
    [answer] = json.loads(ended.stdout)["verify"]
    assert answer["ok"] is False
    assert answer["revision"] == revision
    assert "verify" in answer["message"]
