"""Steps on PostgreSQL: one connection and one transaction for asyncpg, SQLAlchemy and the tracker."""

# ruff: noqa: PT012 - a step is a block, and its end is what is looked at

from collections.abc import Callable
from typing import Any

import pytest

from migrator.adapters.postgres import _link
from migrator.core.errors import (
    ConnectionLost,
    OutcomeUnknown,
    StatementFailed,
    TransactionEscaped,
)
from migrator.core.protocols import Session
from tests._servers import sql
from tests.conformance._places import Place

pytestmark = pytest.mark.only("postgres")

THREE_WAYS = "ctx.conn and ctx.session are named here, so that the step starts them"


async def _write_three_ways(ctx: Any) -> None:
    from sqlalchemy import text

    await ctx.execute("INSERT INTO things VALUES ('execute')")
    await ctx.conn.execute(text("INSERT INTO things VALUES ('conn')"))
    await ctx.session.execute(text("INSERT INTO things VALUES ('session')"))


async def test_three_ways_to_write_commit_as_one(place: Place, session: Session) -> None:
    """What ctx.execute, ctx.conn and ctx.session wrote is there together with the tracker's row."""
    run = place.run(source=THREE_WAYS)
    await session.tracker.start(run)
    async with place.step(session, run) as ctx:
        await _write_three_ways(ctx)
        await ctx.settle()
        await session.tracker.finish(place.done(run))
        assert place.values() == []
    assert place.values() == ["conn", "execute", "session"]
    assert place.rows() == [(run.run_id, "success", "full", "")]


@pytest.mark.parametrize("settled", [False, True])
async def test_three_ways_to_write_roll_back_as_one(place: Place, session: Session, settled: bool) -> None:
    """When the script fails afterwards nothing of the three is left."""
    run = place.run(source=THREE_WAYS)
    await session.tracker.start(run)
    with pytest.raises(ZeroDivisionError):
        async with place.step(session, run) as ctx:
            await _write_three_ways(ctx)
            if settled:
                await ctx.settle()
            await session.tracker.finish(place.done(run))
            raise ZeroDivisionError
    assert place.values() == []
    assert place.rows() == [(run.run_id, "pending", "unknown", "")]


async def test_json_is_text_again_after_sqlalchemy(place: Place, session: Session) -> None:
    """SQLAlchemy has JSON of the connection decoded; a later step on it finds the text that asyncpg gives."""
    for source in (THREE_WAYS, ""):
        run = place.run(revision=f"aa{len(source)}", source=source)
        await session.tracker.start(run)
        async with place.step(session, run) as ctx:
            found = await ctx.value("SELECT '[1]'::jsonb")
            await session.tracker.finish(place.done(run))
    assert found == "[1]"


async def test_a_rollback_of_the_orm_session_undoes_its_own_part(place: Place, session: Session) -> None:
    """After session.rollback() what was written before the session began is kept, and the step goes on."""
    from sqlalchemy import text

    run = place.run(source=THREE_WAYS)
    await session.tracker.start(run)
    async with place.step(session, run) as ctx:
        await ctx.execute("INSERT INTO things VALUES ('before')")
        await ctx.session.execute(text("INSERT INTO things VALUES ('undone')"))
        await ctx.session.rollback()
        await ctx.session.execute(text("INSERT INTO things VALUES ('after')"))
        await ctx.settle()
        await session.tracker.finish(place.done(run))
    assert place.values() == ["after", "before"]
    assert place.rows() == [(run.run_id, "success", "full", "")]


async def test_a_refused_statement_of_sqlalchemy_is_ours(place: Place, session: Session) -> None:
    """What the server refuses through SQLAlchemy leaves as StatementFailed with the SQLSTATE."""
    from sqlalchemy import text

    run = place.run(source=THREE_WAYS)
    await session.tracker.start(run)
    with pytest.raises(StatementFailed, match="nowhere") as caught:
        async with place.step(session, run) as ctx:
            await ctx.conn.execute(text("SELECT * FROM nowhere"))
    assert caught.value.code == "42P01"


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"])
async def test_a_script_cannot_end_the_transaction(place: Place, session: Session, end: str) -> None:
    """A step whose script said COMMIT or ROLLBACK is refused, and its run stays pending."""
    run = place.run()
    await session.tracker.start(run)
    with pytest.raises(TransactionEscaped, match="aa11"):
        async with place.step(session, run) as ctx:
            await place.write(ctx, "a")
            await ctx.execute(end)
            await session.tracker.finish(place.done(run))
    assert place.rows() == [(run.run_id, "pending", "unknown", "")]
    await session.tracker.finish(place.failed(run))


async def test_an_error_in_an_sql_file_says_where(place: Place, session: Session) -> None:
    """The message of a syntax error begins with file and line, though the text rides with the commit."""
    run = place.run(path="revisions/aa11.sql")
    await session.tracker.start(run)
    with pytest.raises(StatementFailed, match=r"^revisions/aa11\.sql:3: .*SELEC"):
        async with place.step(session, run) as ctx:
            await ctx.script("-- a comment\nINSERT INTO things VALUES ('é☃');\nSELEC 1;\n")
            await session.tracker.finish(place.done(run))
    assert (place.values(), place.rows()) == ([], [(run.run_id, "pending", "unknown", "")])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT 1 / (SELECT count(*) FROM things WHERE name = 'none')", "22012"),
        ("INSERT INTO things VALUES ('twice'), ('twice')", "23505"),
        ("ALTER TABLE things ADD CHECK (name <> 'x'); INSERT INTO things VALUES ('x')", "23514"),
        ("SELECT name::int FROM (VALUES ('none')) AS things (name)", "22P02"),
    ],
)
async def test_a_scripts_own_error_is_not_the_trackers(place: Place, session: Session, text: str, code: str) -> None:
    """What an SQL file does wrong is its own failure, though it is sent in one text with the tracker's row."""
    run = place.run(path="revisions/aa11.sql")
    await session.tracker.start(run)
    with pytest.raises(StatementFailed) as caught:
        async with place.step(session, run) as ctx:
            await ctx.script(text)
            await session.tracker.finish(place.done(run))
    assert caught.value.code == code


async def test_statements_that_ride_with_the_commit_do_their_work(place: Place, session: Session) -> None:
    """An SQL file that ends with a comment and no semicolon is done and recorded."""
    run = place.run(path="revisions/aa11.sql")
    await session.tracker.start(run)
    async with place.step(session, run) as ctx:
        await ctx.script("INSERT INTO things VALUES ('a') -- the end")
        await session.tracker.finish(place.done(run))
    assert (place.values(), place.rows()) == (["a"], [(run.run_id, "success", "full", "")])


async def test_settings_of_a_script_end_with_its_step(place: Place, session: Session) -> None:
    """What one script SETs is not there for the next, and not for the tracker."""
    for revision in ("aa11", "bb22"):
        run = place.run(revision=revision, transactional=revision == "bb22")
        await session.tracker.start(run)
        async with place.step(session, run) as ctx:
            assert await ctx.value("SHOW work_mem") != "77MB"
            await ctx.execute("SET work_mem = '77MB'; SET search_path = pg_catalog; SET TIME ZONE 'Asia/Tokyo'")
            await session.tracker.finish(place.done(run))
    assert [row[1] for row in place.rows()] == ["success", "success"]


@pytest.mark.parametrize("text", ["DEALLOCATE ALL", "DISCARD PLANS", "SET ROLE pg_monitor", "SET lock_timeout = 1"])
async def test_what_a_script_drops_is_not_missed(place: Place, session: Session, text: str) -> None:
    """A script that resets things of the connection does not harm the tracker."""
    run = place.run(source=text)
    await session.tracker.start(run)
    async with place.step(session, run) as ctx:
        await place.write(ctx, "a")
        await ctx.execute(text)
        if "ROLE" in text:
            await ctx.execute("RESET ROLE")
        await session.tracker.finish(place.done(run), following := place.run(revision="bb22"))
    await session.tracker.finish(place.done(following))
    assert [row[1] for row in place.rows()] == ["success", "success"]


async def test_outside_a_transaction_each_statement_stands_alone(place: Place, session: Session) -> None:
    """CREATE INDEX CONCURRENTLY works in a step without a transaction, also with SQLAlchemy."""
    from sqlalchemy import text

    run = place.run(transactional=False, source=THREE_WAYS)
    await session.tracker.start(run)
    async with place.step(session, run) as ctx:
        await ctx.execute("CREATE INDEX CONCURRENTLY one ON things (name)")
        await ctx.conn.execute(text("CREATE INDEX CONCURRENTLY two ON things (name)"))
        await ctx.settle()
    await session.tracker.finish(place.done(run))
    assert place.rows() == [(run.run_id, "success", "full", "")]


async def test_a_transaction_left_open_ends_with_its_step(place: Place, session: Session) -> None:
    """What a script without a transaction began and never committed is rolled back before the tracker is written."""
    run = place.run(transactional=False)
    await session.tracker.start(run)
    async with place.step(session, run) as ctx:
        await ctx.execute("BEGIN")
        await place.write(ctx, "a")
    await session.tracker.finish(place.done(run))
    assert (place.values(), place.rows()) == ([], [(run.run_id, "success", "full", "")])


async def test_the_context_of_a_verify_cannot_write(place: Place) -> None:
    """With the text of a script the server refuses writes; reading works, and the next context may write."""
    adapter = place.adapter()
    async with adapter.context("await ctx.fetch(...)") as ctx:
        assert await place.read(ctx) == []
        with pytest.raises(StatementFailed):
            await place.write(ctx, "a")
    async with adapter.context() as ctx:
        await place.write(ctx, "b")
    assert place.values() == ["b"]


async def test_any_schema_name_can_hold_the_tracker(place: Place, adapter_factory: Callable[..., Any]) -> None:
    """The tracker lives in the first schema of the search path, whatever that is called."""
    name = place.url.rpartition("/")[2]
    quoted = '"we:ird {tracker} ""$1"" \\"'
    sql(place.url, f"CREATE SCHEMA {quoted}", f"ALTER DATABASE {name} SET search_path = {quoted}, public")
    async with adapter_factory().session() as session:
        await session.lock.acquire(place.owner())
        await place.applied(session, place.run())
        assert await session.lock.holder() is not None
        assert len(await session.tracker.runs()) == 1
    assert sql(place.url, f"SELECT count(*) FROM {quoted}.script_run_tracker")[0][0] == 1


async def test_a_connection_lost_at_the_commit_is_an_unknown_outcome(place: Place, session: Session) -> None:
    """Nobody can say whether a commit without an answer took effect; whatever ends the session is harmless."""
    run = place.run()
    await session.tracker.start(run)
    with pytest.raises(OutcomeUnknown) as caught:
        async with place.step(session, run) as ctx:
            await place.write(ctx, "a")
            await session.tracker.finish(place.done(run))
            place.lapse()
    assert caught.value.exit_code == 14
    assert (place.values(), place.rows()) == ([], [(run.run_id, "pending", "unknown", "")])


async def test_a_connection_lost_in_the_script_is_told(place: Place, session: Session) -> None:
    """The next statement after the server ended the connection is ConnectionLost, exit 4."""
    run = place.run()
    await session.tracker.start(run)
    with pytest.raises(ConnectionLost) as caught:
        async with place.step(session, run) as ctx:
            place.lapse()
            await place.write(ctx, "a")
    assert caught.value.exit_code == 4
    with pytest.raises(ConnectionLost):
        await session.tracker.finish(place.failed(run))


async def test_sqlalchemy_takes_turns_with_what_keeps_the_session(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the server is told all the time that we live, statements and cursors through SQLAlchemy find no other."""
    from sqlalchemy import text

    monkeypatch.setattr(_link, "INTERVAL", 0.0)
    async with place.adapter().session() as session:
        await session.lock.acquire(place.owner())
        run = place.run(source=THREE_WAYS)
        await session.tracker.start(run)
        async with place.step(session, run) as ctx:
            for number in range(100):
                assert await ctx.conn.scalar(text("SELECT CAST(:n AS int)"), {"n": number}) == number
            async with ctx.conn.begin_nested():
                rows = await ctx.conn.stream(text("SELECT generate_series(1, 200)"))
                assert len([row async for row in rows]) == 200
            await ctx.settle()
            await session.tracker.finish(place.done(run))
