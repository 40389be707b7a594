"""Whose error it is: what a server says of other connections, and what a script meets elsewhere, is not about ours."""

from typing import Any

import asyncpg
import pytest

from migrator.core.errors import DatabaseError, PermissionDenied, StatementFailed
from migrator.core.protocols import Session
from tests._servers import sql
from tests.conformance._places import Place

pytestmark = pytest.mark.only("postgres")

RAISE = "DO $$ BEGIN RAISE 'said by a script' USING ERRCODE = '{}'; END $$"


async def failed(place: Place, session: Session, body: Any, source: str = "", **run: Any) -> BaseException:
    """Run a step that fails, and return its error; the session must have survived it."""
    began = place.run(source=source, **run)
    await session.tracker.start(began)
    with pytest.raises(Exception) as caught:
        async with place.step(session, began) as ctx:
            await body(ctx)
    assert session.alive
    await session.tracker.finish(place.failed(began))
    return caught.value


@pytest.mark.parametrize("transactional", [True, False], ids=["transaction", "plain"])
@pytest.mark.parametrize("state", ["08006", "25006", "25P04", "28P01", "3D000", "53300", "57P01", "57P03"])
@pytest.mark.parametrize("way", ["execute", "sqlalchemy"])
async def test_a_script_raises_a_state(
    place: Place, session: Session, state: str, way: str, transactional: bool
) -> None:
    """The connection is open, so a SQLSTATE of connections is the script's own: exit 1 with the server's words."""

    async def body(ctx: Any) -> None:
        from sqlalchemy import text

        statement = RAISE.format(state)
        await (ctx.execute(statement) if way == "execute" else ctx.conn.execute(text(statement)))

    error = await failed(place, session, body, "ctx.conn", transactional=transactional)
    assert isinstance(error, StatementFailed), error
    assert (error.exit_code, error.code) == (1, state)
    assert "said by a script" in error.message


async def test_other_connections(place: Place, session: Session) -> None:
    """What a script's own connections, files and time limits raise is the script's error, and not a lost connection."""

    async def dies(_: Any) -> None:
        other = await asyncpg.connect(place.url)
        await other.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async def refused(_: Any) -> None:
        await asyncpg.connect(place.url, user="nobody_of_that_name", password="wrong")

    async def missing(_: Any) -> None:
        raise ConnectionResetError("the other service")

    async def late(_: Any) -> None:
        raise TimeoutError("the other service")

    async def subscribes(ctx: Any) -> None:
        await ctx.execute("CREATE SUBSCRIPTION other CONNECTION 'host=127.0.0.1 port=1' PUBLICATION gone")

    error = await failed(place, session, subscribes, transactional=False)
    assert isinstance(error, StatementFailed), error
    assert "Connection refused" in error.message
    for body in (dies, refused):
        error = await failed(place, session, body)
        assert isinstance(error, StatementFailed), error
        assert error.exit_code == 1
    for body in (missing, late):
        assert not isinstance(await failed(place, session, body), DatabaseError)


async def test_a_server_that_only_reads(place: Place) -> None:
    """Where the user may only read, a write is a missing permission; else it is the script that said so."""
    database = place.url.rpartition("/")[2]

    async def only_reads(ctx: Any) -> None:
        await ctx.execute("SET TRANSACTION READ ONLY")
        await ctx.execute("CREATE TABLE written ()")

    async with place.adapter().session() as session:
        await session.lock.acquire(place.owner())
        error = await failed(place, session, only_reads)
        assert isinstance(error, StatementFailed), error
    sql(place.url, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    async with place.adapter().session() as session:
        with pytest.raises(PermissionDenied, match="read-only"):
            await session.lock.acquire(place.owner())


@pytest.mark.parametrize("way", ["execute", "sqlalchemy"])
async def test_a_composite_type_is_altered(place: Place, session: Session, way: str) -> None:
    """What was read before and after an alteration of its type in the same step is right, also after a rollback."""
    from sqlalchemy import text

    sql(place.url, "CREATE TYPE pair AS (a int, b int)", "CREATE TABLE pairs (of pair)")
    sql(place.url, "INSERT INTO pairs VALUES (ROW (1, 2))")
    run = place.run(source="ctx.conn")

    async def read(ctx: Any) -> Any:
        query = "SELECT of FROM pairs"
        return tuple(await (ctx.value(query) if way == "execute" else ctx.conn.scalar(text(query))))

    await session.tracker.start(run)
    async with place.step(session, run) as ctx:
        assert await read(ctx) == (1, 2)
        await ctx.execute("SAVEPOINT here; ALTER TYPE pair ADD ATTRIBUTE c text")
        assert await read(ctx) == (1, 2, None)
        await ctx.execute("ROLLBACK TO here")
        assert await read(ctx) == (1, 2)
        if way == "execute":
            await ctx.execute("ALTER TYPE pair DROP ATTRIBUTE b")
        else:
            await ctx.conn.execute(text("ALTER TYPE pair DROP ATTRIBUTE b"))
        assert await read(ctx) == (1,)
        await session.tracker.finish(place.done(run))


async def test_a_type_is_altered_out_of_sight(place: Place, session: Session) -> None:
    """Where another session alters it, the error is that of a statement, and the connection is of use afterwards."""
    sql(place.url, "CREATE TYPE pair AS (a int, b int)", "CREATE TABLE pairs (of pair)")
    sql(place.url, "INSERT INTO pairs VALUES (ROW (1, 2))")

    async def body(ctx: Any) -> None:
        await ctx.value("SELECT of FROM pairs")
        sql(place.url, "ALTER TYPE pair ADD ATTRIBUTE c text")
        await ctx.value("SELECT of FROM pairs")

    error = await failed(place, session, body, transactional=False)
    assert isinstance(error, StatementFailed), error
    assert "altered" in error.hint
