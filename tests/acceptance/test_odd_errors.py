"""Errors that are their own causes, texts that no database takes, values that no driver decodes: each ends its step."""

from collections.abc import AsyncIterator

import pytest

from migrator.config import load
from migrator.core.run import Status
from migrator.runtime.migrator import Migrator
from tests.acceptance._project import Project

CYCLES = (
    'e = ValueError("odd")\nraise e from e',
    'e = ValueError("odd")\ne.__context__ = e\nraise e',
    'a, b = ValueError("odd"), ValueError("b")\na.__cause__, b.__cause__ = b, a\nraise a',
    'a, b = ValueError("odd"), ValueError("b")\na.__context__, b.__context__ = b, a\nraise a',
    'a, b = ValueError("odd"), ValueError("b")\na.__cause__, b.__cause__ = b, b\nraise a',
)
DRIVERS = """
try:
    await ctx.fetch("SELECT odd")
except Exception as error:
    error.__cause__.__cause__ = error
    raise
"""
UNDECODABLE = {
    "SELECT 1 AS n, time '24:00' AS t": "column t (time)",
    "SELECT timestamp '20000-01-01' AS t": "column t (timestamp)",
    "SELECT timestamptz '20000-01-01' AS t": "column t (timestamptz)",
    "SELECT date '0044-03-15 BC' AS ides": "column ides (date)",
    "SELECT ARRAY[time '24:00'] AS t": "column t (time[])",
    "SELECT tsrange('20000-01-01', NULL) AS r": "column r (tsrange)",
    "SELECT time '24:00' AS a, date '0044-03-15 BC' AS b": "one of the columns a (time), b (date)",
}


@pytest.fixture
async def migrator(both: Project) -> AsyncIterator[Migrator]:
    """Give a project with a database of either kind, open."""
    async with Migrator.open(load(str(both.toml), {})) as opened:
        yield opened


async def ended(project: Project, migrator: Migrator, database: str, body: str, *, transaction: bool = True) -> str:
    """Run a script that must fail, and return its error as the tracker has it."""
    project.revision(database, "odd", upgrade=body, repeatable=True, transaction=transaction)
    (result,) = (await migrator.run("odd", force=True)).results
    assert result.run is not None
    assert result.run.status is Status.FAILED
    (kept,) = (await migrator.past.run(result.run.run_id)).runs
    assert kept.error == result.run.error
    assert "through" in kept.error or "through" not in body, kept.error
    return kept.error


@pytest.mark.parametrize("transaction", [True, False])
async def test_cycles_of_causes(both: Project, migrator: Migrator, transaction: bool) -> None:
    """An error whose causes lead back to it fails its step, as any other does."""
    for body in (*CYCLES, DRIVERS):
        assert "odd" in await ended(both, migrator, "main", body, transaction=transaction)
    both.revisions("main").joinpath("odd.py").unlink()
    for body in CYCLES:
        assert "odd" in await ended(both, migrator, "events", body, transaction=transaction)


async def test_values_without_a_python_value(both: Project, migrator: Migrator) -> None:
    """A value that asyncpg cannot decode is named by its column and type, also under SQLAlchemy; the link stays."""
    for query, said in UNDECODABLE.items():
        assert said in await ended(both, migrator, "main", f'await ctx.fetch("{query}")')
        for call in (f'ctx.fetch("{query}")', f'ctx.conn.execute(text("{query}"))'):
            await ended(both, migrator, "main", survived(call, said))


@pytest.mark.parametrize("transaction", [True, False])
@pytest.mark.parametrize("odd", [r"\ud800", r"\udcff", r"\0"])
async def test_sql_that_cannot_be_sent(both: Project, migrator: Migrator, odd: str, transaction: bool) -> None:
    """SQL with a lone surrogate or a NUL is refused before it is sent, and the connection stays in use."""
    query = f"SELECT '{odd}'"
    execute = f'await ctx.execute("{query}")'
    assert "at character 9" in await ended(both, migrator, "main", execute, transaction=transaction)
    for call in (f'ctx.fetch("{query}")', f'ctx.conn.execute(text("{query}"))'):
        await ended(both, migrator, "main", survived(call, "at character 9"), transaction=transaction)


@pytest.mark.parametrize("database", ["main", "events"])
async def test_errors_that_no_database_takes(both: Project, migrator: Migrator, database: str) -> None:
    """What a script raises or logs is recorded, escaped where a database could not take it."""
    for odd in (r"\ud800", r"\udcff", r"\0"):
        body = f'ctx.log.warning("log {odd}")\nraise ValueError("bad {odd} name")'
        escaped = odd.replace(r"\0", r"\x00")
        assert f"bad {escaped} name" in await ended(both, migrator, database, body)


@pytest.mark.parametrize("transaction", [True, False])
async def test_documents_that_cannot_be_stored_or_read(both: Project, migrator: Migrator, transaction: bool) -> None:
    """On MongoDB a lone surrogate and a date after year 9999 fail the step with what was wrong."""
    store = 'await ctx.db["c"].insert_one({"_id": 1, "a": "\\ud800"})'
    assert "surrogate" in await ended(both, migrator, "events", store, transaction=transaction)
    read = (
        "from bson.datetime_ms import DatetimeMS\n"
        'await ctx.db["c"].insert_one({"_id": 2, "at": DatetimeMS(2**60)})\n'
        'await ctx.db["c"].find_one({"_id": 2})'
    )
    assert "years 1 to 9999" in await ended(both, migrator, "events", read, transaction=transaction)


def survived(call: str, said: str) -> str:
    """Return a script in which a call fails with this text, after which the connection still answers."""
    return (
        "from sqlalchemy import text\n"
        f"try:\n    await {call}\nexcept Exception as error:\n    assert {said!r} in str(error), error\n"
        'assert await ctx.value("SELECT 7") == 7\nraise ValueError("through")'
    )
