"""Values of rows and documents are nowhere: the drivers put them into messages, and migrator takes them out."""

from typing import Any

import pytest

from tests._servers import sql
from tests.acceptance._look import runs
from tests.acceptance._project import Project

VALUE = "ann@example.org"
LOUD = {"DEBUG": "1", "LOG_LEVEL": "DEBUG"}
LOGGED = "try:\n    {}\nexcept Exception:\n    ctx.log.exception('it went wrong')\n    raise"

GIVEN = "import os\nvalue = os.environ['VALUE']\n"
"""A traceback shows lines of the revision, so the value does not stand in them."""

UNIQUE = "await ctx.execute(\"INSERT INTO people VALUES ($1, '1')\", value)"
NULL = 'await ctx.execute("INSERT INTO people VALUES ($1, NULL)", value + "x")'
CAST = 'await ctx.execute("ALTER TABLE people ALTER email TYPE int USING email::int")'
ARGUMENT = 'await ctx.execute("SELECT $1::int", value)'
CORE = (
    "from sqlalchemy import text\n"
    "conn = ctx.conn\nawait conn.execute(text(\"INSERT INTO people VALUES (:e, '1')\"), {'e': value})"
)
ONE = "await ctx.db.people.insert_one({'email': value})"
BULK = "await ctx.db.people.insert_many([{'email': value}])"
UPSERT = "await ctx.db.people.update_one({'_id': 2}, {'$set': {'email': value}}, upsert=True)"


def body_of(lines: str) -> str:
    """Return the body of a script that does this, and logs what goes wrong before it fails."""
    return GIVEN + LOGGED.format(lines.replace("\n", "\n    "))


def shows_nothing(project: Project, database: str) -> None:
    """Run the upgrade loudly, for a person and for a program: it fails, and the value is nowhere."""
    project.env["VALUE"] = VALUE
    for words in ((), ("--json",)):
        result = project.run("upgrade", f"{database}:head", *words, env=LOUD)
        assert result.exit_code == 1, result
        assert "Traceback" in result.stderr
        assert VALUE not in result.text


@pytest.mark.parametrize(
    "body", [UNIQUE, NULL, CAST, ARGUMENT, CORE], ids=["unique", "null", "cast", "argument", "sqlalchemy"]
)
def test_on_postgresql(shop: Project, postgres_url: str, body: str) -> None:
    """A violated constraint, a value that does not fit: the message names the constraint, the column, the type."""
    sql(
        postgres_url,
        "CREATE TABLE people (email text UNIQUE, name text NOT NULL)",
        f"INSERT INTO people VALUES ('{VALUE}', 'Ann')",
    )
    shop.revision("main", "a1", upgrade=body_of(body))
    shows_nothing(shop, "main")
    rows = runs(postgres_url)
    assert rows[0]["error"]
    assert VALUE not in str([{**row, "source": ""} for row in rows])


@pytest.mark.parametrize("body", [ONE, BULK, UPSERT], ids=["one", "bulk", "upsert"])
def test_on_mongodb(project: Project, mongo_url: str, body: str) -> None:
    """A second document with the same key: the message names the index and the collection."""
    import pymongo

    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(mongo_url) as client:
        people: Any = client.get_default_database()["people"]
        people.create_index("email", unique=True)
        people.insert_one({"email": VALUE})
    project.configure(events=mongo_url)
    project.revision("events", "a1", upgrade=body_of(body), transaction=True)
    shows_nothing(project, "events")
    with pymongo.MongoClient(mongo_url) as client:
        row: Any = client.get_default_database()["script_run_tracker"].find_one({}, {"source": 0})
    assert row["error"]
    assert VALUE not in str(row)
