"""A tracker that was emptied or dropped is named, and never taken for a new one."""

from collections.abc import Callable

import pymongo
import pytest

from migrator.adapters.postgres._queries import TABLES
from tests._servers import sql
from tests.acceptance._project import Project

EVERYTHING = ", ".join(TABLES.values())


def on_mongo(project: Project, change: Callable[[pymongo.database.Database[dict[str, object]]], object]) -> None:
    """Change the database of `events` from outside."""
    client: pymongo.MongoClient[dict[str, object]]
    with pymongo.MongoClient(project.urls["events"]) as client:
        change(client.get_default_database())


LOSSES = {
    "all rows of all tables": f"TRUNCATE {EVERYTHING} RESTART IDENTITY",
    "the runs": "TRUNCATE script_run_tracker RESTART IDENTITY",
    "the runs, one by one": "DELETE FROM script_run_tracker",
    "the table of the runs": "DROP TABLE script_run_tracker",
}


@pytest.mark.parametrize("loss", LOSSES)
def test_emptied_on_postgres(shop: Project, loss: str) -> None:
    """Nothing starts at the first revision again: 14 with what happened; a person says what is applied."""
    shop.tables("main", "a1", "b2")
    shop.good("upgrade")
    sql(shop.urls["main"], LOSSES[loss])
    for words in ("status", "upgrade head", "upgrade --dry-run", "upgrade head", "downgrade -1"):
        result = shop.run(*words.split(), "--json")
        assert (words, result.exit_code) == (words, 14), result
        assert "the tracker of main" in result.error()["message"]
        assert "migrator stamp" in result.error()["hint"]
    health = shop.run("doctor", "--json").json()["databases"]["main"]
    assert (health["status"], health["ready"]) == ("failing", False)
    shop.good("stamp", "head")
    assert shop.states() == {"a1": "applied", "b2": "applied"}
    shop.good("upgrade")


def test_emptied_on_mongo(both: Project) -> None:
    """The same where the documents of every collection, those of the runs, or their collection are gone."""
    both.collection("events", "e1")
    for change in (
        lambda db: [db[name].delete_many({}) for name in db.list_collection_names() if name.startswith("script_run_")],
        lambda db: db["script_run_tracker"].delete_many({}),
        lambda db: db["script_run_tracker"].drop(),
    ):
        both.good("upgrade", "-d", "events")
        on_mongo(both, change)
        for words in ("status", "upgrade", "upgrade"):
            result = both.run(*words.split(), "-d", "events", "--json")
            assert (words, result.exit_code) == (words, 14), result
            assert "was emptied" in result.error()["message"]
        both.good("stamp", "events:head")
        assert both.states("events") == {"e1": "applied"}


def test_begun_anew(shop: Project) -> None:
    """Who drops what the hint names begins at the first revision."""
    shop.tables("main", "a1")
    shop.good("upgrade")
    sql(shop.urls["main"], "TRUNCATE script_run_tracker", "DROP TABLE t_a1")
    assert shop.run("upgrade").exit_code == 14
    sql(shop.urls["main"], "DROP TABLE script_run_tracker, script_run_lock")
    shop.good("upgrade")
    assert shop.states() == {"a1": "applied"}


@pytest.mark.parametrize("loss", ["DELETE FROM script_run_lock", "DROP TABLE script_run_lock"])
def test_a_lock_without_its_row(shop: Project, loss: str) -> None:
    """The runs are there: the row is written again, with a fence that was not given out before; nobody waits."""
    shop.tables("main", "a1", "b2")
    shop.good("upgrade", "a1")
    shop.good("upgrade", "a1")
    sql(shop.urls["main"], loss)
    assert shop.states() == {"a1": "applied", "b2": "pending"}
    assert "free" in shop.good("unlock").stdout
    shop.good("upgrade", "--lock-timeout", "5s")
    fences = sql(shop.urls["main"], "SELECT fence FROM script_run_tracker ORDER BY seq")
    assert fences[0][0] < fences[1][0]


LOST = {
    "TRUNCATE script_run_tracker": "was emptied",
    f"TRUNCATE {EVERYTHING}": "was emptied",
    "DELETE FROM script_run_lock": "was emptied",
    "DROP TABLE script_run_tracker": "was dropped",
    f"DROP TABLE {EVERYTHING}": "was dropped",
}


@pytest.mark.parametrize("loss", LOST)
def test_lost_in_the_middle(shop: Project, loss: str) -> None:
    """A revision outside a transaction that takes the tracker away fails with that, not with a lock taken over."""
    shop.table("main", "a1")
    shop.revision("main", "b2", "a1", upgrade=f'await ctx.execute("{loss}")', transaction=False)
    shop.good("upgrade", "a1")
    result = shop.run("upgrade", "head", "--json")
    assert result.exit_code == 14, result
    assert LOST[loss] in result.error()["message"]
    assert "taken over" not in result.text


@pytest.mark.parametrize("loss", LOST)
def test_lost_in_a_transaction(shop: Project, loss: str) -> None:
    """In a transaction the step fails with what it did, and the tracker is as it was."""
    shop.table("main", "a1")
    shop.revision("main", "b2", "a1", upgrade=f'await ctx.execute("{loss}")')
    result = shop.run("upgrade", "head", "--json")
    assert result.exit_code == 1, result
    assert "removed the tracker's record of its own run" in result.error()["message"]
    assert "rolled back" in result.error()["state"]
    assert shop.states()["a1"] == "applied"


@pytest.mark.parametrize("how", ["SELECT pg_advisory_unlock_all()", "DISCARD ALL"])
@pytest.mark.parametrize("kind", ["python", "sql"])
def test_a_lock_that_was_given_away(shop: Project, how: str, kind: str) -> None:
    """It is noticed before the next statement, and the next command settles the run."""
    if kind == "python":
        texts = ("CREATE TABLE one ()", how, "CREATE TABLE two ()")
        body = "\n".join(f'await ctx.execute("{text}")' for text in texts)
        shop.revision("main", "a1", upgrade=body, transaction=False, verify="return False")
    else:
        shop.sql("main", "a1", upgrade=f"CREATE TABLE one ();\n{how};\nCREATE TABLE two ();", transaction="off")
    result = shop.run("upgrade", "--json")
    assert result.exit_code == 12, result
    assert "given away" in result.error()["message"]
    there = "SELECT to_regclass('one') IS NOT NULL, to_regclass('two') IS NOT NULL"
    assert sql(shop.urls["main"], there) == [(True, False)]
    assert shop.run("upgrade").exit_code == 14
