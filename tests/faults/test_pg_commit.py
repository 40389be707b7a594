"""A commit that is never answered: the tracker is read again under the lock before anybody is told anything."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from migrator.config import load
from migrator.core.errors import ConnectionLost, OutcomeUnknown, RunFailed
from migrator.core.outcome import Outcome
from migrator.runtime.migrator import Migrator
from tests._servers import sql
from tests.faults import corpus
from tests.faults.proxy import POSTGRES, Do, Message, Plan, Proxy, first

REVISION = '''"""Table {id}."""

revision = "{id}"
down_revision = {down}


async def upgrade(ctx):
    await ctx.execute("CREATE TABLE {id} (n int)")


async def downgrade(ctx):
    await ctx.execute("DROP TABLE {id}")
'''


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    """Stand between the command and the server."""
    parts = urlsplit(postgres_url)
    assert parts.hostname
    assert parts.port
    with Proxy(parts.hostname, parts.port, POSTGRES) as made:
        yield made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a project with two revisions."""
    (tmp_path / "revisions").mkdir()
    for name, down in (("a1", "None"), ("b2", '"a1"')):
        (tmp_path / "revisions" / f"{name}.py").write_text(REVISION.format(id=name, down=down))
    return tmp_path


def commit_of(number: int, what: Do) -> Plan:
    """Return a plan that does this to the number-th COMMIT of a step."""
    seen: list[Message] = []

    def plan(message: Message) -> Do:
        if b"COMMIT" not in message.payload or b"migrator_finish" not in message.payload:
            return Do.PASS
        seen.append(message)
        return what if len(seen) == number else Do.PASS

    return plan


async def upgrade(project: Path, proxy: Proxy, url: str, plan: Plan) -> Outcome:
    """Run `upgrade head` through the proxy; the fault must fire."""
    corpus.configure(project, proxy.url(url))
    proxy.plan = plan
    async with Migrator.open(load(str(project / "migrator.toml"), {})) as migrator:
        try:
            return await migrator.upgrade("head")
        finally:
            assert proxy.fired


def applied(url: str) -> list[str]:
    """Return what the tracker says is applied."""
    return [row[0] for row in sql(url, "SELECT revision FROM script_run_tracker WHERE status = 'success' ORDER BY 1")]


async def test_the_last_commit_arrived(project: Path, proxy: Proxy, postgres_url: str) -> None:
    """Where the last step turns out to be committed, the command has done its work and says how it knows."""
    outcome = await upgrade(project, proxy, postgres_url, commit_of(2, Do.CUT_REPLY))
    assert [run.revision for run in outcome.runs] == ["a1", "b2"] == applied(postgres_url)
    assert "read again, says that it is done" in outcome.notes[0]


async def test_a_commit_arrived_and_others_were_left(project: Path, proxy: Proxy, postgres_url: str) -> None:
    """Where more was to come, the command ends with 14, and says what is done and what was not begun."""
    with pytest.raises(OutcomeUnknown, match="read again, says that it is done") as caught:
        await upgrade(project, proxy, postgres_url, commit_of(1, Do.CUT_REPLY))
    assert caught.value.state == "1 step done, 1 not begun."
    assert applied(postgres_url) == ["a1"]


async def test_a_commit_did_not_arrive(project: Path, proxy: Proxy, postgres_url: str) -> None:
    """Where the server never saw the commit, the command says so, and nothing of the step is there."""
    with pytest.raises(ConnectionLost, match="the commit did not arrive") as caught:
        await upgrade(project, proxy, postgres_url, commit_of(2, Do.CUT_BEFORE))
    assert caught.value.state == "Nothing of main:b2 is in the database. 1 before it are done and kept."
    assert applied(postgres_url) == ["a1"]
    assert sql(postgres_url, "SELECT to_regclass('b2') IS NULL AS gone")[0][0] is True


PLAIN = REVISION.replace("down_revision", "transaction = False\ndown_revision")
CHANGE = '''"""Change rows."""

revision = "b2"
down_revision = "a1"


async def upgrade(ctx):
    async for batch in ctx.batches("rows", max_rows=100):
        async with batch:
            await ctx.execute(f"UPDATE rows SET n = 1 WHERE {batch.where}", *batch.args)
'''


async def test_the_end_of_a_step_without_a_transaction_arrived(project: Path, proxy: Proxy, postgres_url: str) -> None:
    """The tracker's own write is a commit like any other: it is looked up, and all is done."""
    (project / "revisions" / "b2.py").write_text(PLAIN.format(id="b2", down='"a1"'))
    outcome = await upgrade(project, proxy, postgres_url, commit_of(2, Do.CUT_REPLY))
    assert [run.revision for run in outcome.runs] == ["a1", "b2"] == applied(postgres_url)
    assert "read again, says that it is done" in outcome.notes[0]


async def test_the_end_of_a_step_without_a_transaction_did_not_arrive(
    project: Path, proxy: Proxy, postgres_url: str
) -> None:
    """Then its work is there and not recorded: it says so, and names the command that settles it."""
    (project / "revisions" / "b2.py").write_text(PLAIN.format(id="b2", down='"a1"'))
    with pytest.raises(ConnectionLost, match="the commit did not arrive") as caught:
        await upgrade(project, proxy, postgres_url, commit_of(2, Do.CUT_BEFORE))
    assert caught.value.state.startswith("What main:b2 did is in the database.")
    assert "`migrator resolve " in caught.value.hint
    assert applied(postgres_url) == ["a1"]


async def test_the_end_of_a_script_arrived(project: Path, proxy: Proxy, postgres_url: str) -> None:
    """A script that `migrator run` was asked for is done, too."""
    text = PLAIN.format(id="b2", down="()").replace("transaction =", "repeatable = True\ntransaction =")
    (project / "revisions" / "b2.py").write_text(text.replace("down_revision = ()\n", ""))
    corpus.configure(project, proxy.url(postgres_url))
    proxy.plan = first(lambda sent: b"finished AS" in sent.payload and b"COMMIT" in sent.payload, Do.CUT_REPLY)
    async with Migrator.open(load(str(project / "migrator.toml"), {})) as migrator:
        outcome = await migrator.run("b2")
    assert proxy.fired
    assert [(each.word, each.run and each.run.reason) for each in outcome.results] == [("ok", "recovered")]


async def test_the_commit_of_a_batch_arrived(project: Path, proxy: Proxy, postgres_url: str) -> None:
    """What is said to be done is no more than what is known to be, and the next upgrade continues behind it."""
    sql(postgres_url, "CREATE TABLE rows (id int PRIMARY KEY, n int)")
    sql(postgres_url, "INSERT INTO rows SELECT generate_series(1, 1000)", "ANALYZE rows")
    (project / "revisions" / "b2.py").write_text(CHANGE)
    seen: list[Message] = []

    def third(message: Message) -> Do:
        if message.payload.rstrip(b"\0").endswith(b"COMMIT") and len(message.payload) < 20:
            seen.append(message)
            return Do.CUT_REPLY if len(seen) == 4 else Do.PASS  # the first commits the claim
        return Do.PASS

    with pytest.raises(RunFailed) as caught:
        await upgrade(project, proxy, postgres_url, third)
    assert "Done and kept: at least 200 of about 1,000 rows of rows." in caught.value.state
    assert sql(postgres_url, "SELECT count(*) FROM rows WHERE n = 1")[0][0] == 300
