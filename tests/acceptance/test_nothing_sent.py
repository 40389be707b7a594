"""A script outside a transaction that fails before it has sent anything has done nothing: the corrected file runs."""

from pathlib import Path

import pytest

from migrator.config import load
from migrator.core.errors import RunFailed
from migrator.core.run import Effect
from migrator.runtime.migrator import Migrator
from tests._servers import sql
from tests.acceptance._project import Project

MONGO = {
    "a value that BSON does not have": "await ctx.db.things.insert_one({'a': object()})",
    "one among several": "await ctx.db.things.insert_many([{'a': 1}, {'a': object()}])",
    "a wrong argument": "await ctx.db.things.insert_one('text')",
    "an empty list": "await ctx.db.things.insert_many([])",
    "a wrong update": "await ctx.db.things.update_one({}, {'a': 1})",
    "a wrong name": "await ctx.db['a$b'].insert_one({})",
    "a method that does not exist": "await ctx.db.things.insert_some({})",
    "a name": "await ctx.db.things.insert_one(missing)",
    "reading before": "await ctx.db.things.count_documents({}); [x async for x in ctx.db.things.find()]; 1 / 0",
    "an aggregation that reads": "[x async for x in await ctx.db.things.aggregate([{'$match': {}}])]; 1 / 0",
    "a write concern without an answer": "await ctx.db.with_options(write_concern=W(0)).things.insert_one({})",
}

POSTGRES = {
    "a value of another type": "await ctx.execute('INSERT INTO things VALUES ($1)', 'one')",
    "too few arguments": "await ctx.execute('INSERT INTO things VALUES ($1, $2)', 1)",
    "a statement that the parser refuses": "await ctx.execute('INSRT INTO things VALUES (1)')",
    "a table that does not exist": "await ctx.execute('INSERT INTO nothing VALUES (1)')",
    "a query": "await ctx.fetch('SELECT * FORM things')",
    "a name": "await ctx.execute(missing)",
    "SQLAlchemy, a value": "await ctx.conn.execute(text('INSERT INTO things VALUES (:a)'), {'a': 'one'})",
    "SQLAlchemy, a statement": "await ctx.conn.execute(text('INSRT INTO things VALUES (1)'))",
    "SQLAlchemy, a name": "await ctx.conn.execute(missing)",
}


async def _both(project: Project, wrong: str, right: str, imports: str) -> tuple[Effect, str]:
    path = project.revision("main", "r1", upgrade=wrong, transaction=False)
    _with(path, imports)
    async with Migrator.open(load(str(project.toml), {})) as migrator:
        with pytest.raises(RunFailed) as caught:
            await migrator.upgrade("head")
        _with(project.revision("main", "r1", upgrade=right, transaction=False), imports)
        outcome = await migrator.upgrade("head")
    assert [run.revision for run in outcome.runs] == ["r1"]
    return caught.value.failed.effect, caught.value.state


def _with(path: Path, imports: str) -> None:
    text = path.read_text("utf-8")
    path.write_text(text.replace("async def", f"{imports}\nasync def", 1), "utf-8")


@pytest.mark.parametrize("wrong", MONGO.values(), ids=MONGO)
async def test_on_mongodb(project: Project, mongo_url: str, wrong: str) -> None:
    """What the driver refuses, and what a script does before its first write."""
    project.configure(main=mongo_url)
    imports = "from pymongo import WriteConcern as W"
    effect, state = await _both(project, wrong, "await ctx.db.things.insert_one({'_id': 1})", imports)
    assert effect is Effect.NONE
    assert state.startswith("Nothing of")


@pytest.mark.parametrize("wrong", POSTGRES.values(), ids=POSTGRES)
async def test_on_postgres(shop: Project, wrong: str) -> None:
    """What the driver refuses, and what the server refuses when it reads the first statement."""
    sql(shop.urls["main"], "CREATE TABLE things (a int)")
    right = "await ctx.execute('INSERT INTO things VALUES (1)')"
    effect, state = await _both(shop, wrong, right, "from sqlalchemy import text")
    assert effect is Effect.NONE
    assert state.startswith("Nothing of")


@pytest.mark.parametrize(
    "wrong",
    [
        "await ctx.db.things.insert_one({'_id': 1}); 1 / 0",
        "await ctx.db.things.create_index('a'); await ctx.db.things.insert_one({'a': object()})",
        "await ctx.db.things.aggregate([{'$match': {}}, {'$out': 'copy'}]); 1 / 0",
    ],
)
async def test_what_was_sent_counts(project: Project, mongo_url: str, wrong: str) -> None:
    """A write before the failure leaves a doubt, and a person is asked."""
    project.configure(main=mongo_url)
    project.revision("main", "r1", upgrade=wrong, transaction=False)
    async with Migrator.open(load(str(project.toml), {})) as migrator:
        with pytest.raises(RunFailed) as caught:
            await migrator.upgrade("head")
    assert caught.value.failed.effect is Effect.UNKNOWN
