"""A commit that is never answered: the tracker is read again under the lock before anybody is told anything."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from migrator.config import load
from migrator.core.errors import ConnectionLost, OutcomeUnknown
from migrator.core.outcome import Outcome
from migrator.runtime.migrator import Migrator
from tests._servers import sql
from tests.faults import corpus
from tests.faults.proxy import POSTGRES, Do, Message, Plan, Proxy

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
    assert caught.value.state == "1 step(s) are done, 1 were not begun."
    assert applied(postgres_url) == ["a1"]


async def test_a_commit_did_not_arrive(project: Path, proxy: Proxy, postgres_url: str) -> None:
    """Where the server never saw the commit, the command says so, and nothing of the step is there."""
    with pytest.raises(ConnectionLost, match="the commit did not arrive") as caught:
        await upgrade(project, proxy, postgres_url, commit_of(2, Do.CUT_BEFORE))
    assert caught.value.state == "Nothing of main:b2 is in the database. 1 before it are done and kept."
    assert applied(postgres_url) == ["a1"]
    assert sql(postgres_url, "SELECT to_regclass('b2') IS NULL AS gone")[0][0] is True
