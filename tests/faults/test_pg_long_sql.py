"""Plain SQL that takes long: its own time limit and a signal end it, and the limit of a commit does not."""

import signal

import pytest

from migrator import Migrator
from migrator.adapters.postgres import _session
from migrator.config import load
from migrator.core.errors import RunFailed
from tests._servers import sql
from tests.acceptance._project import Project
from tests.faults._pg import HOLDER, SLEEPING, pids, runs
from tests.faults.deployer import until

SLOW = "CREATE TABLE IF NOT EXISTS made (); SELECT pg_sleep(3)"
DEFERRED = """
CREATE TABLE made (id int);
CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON made DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
INSERT INTO made VALUES (1)
"""
texts = pytest.mark.parametrize("text", [SLOW, DEFERRED], ids=["statement", "deferred trigger"])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a commit take one second."""
    monkeypatch.setattr(_session, "COMMIT", 1.0)


@texts
async def test_a_text_may_take_longer_than_a_commit(shop: Project, hasty: None, text: str) -> None:
    """The limit for the commit begins when the text has ended, in an upgrade and a downgrade."""
    shop.sql("main", "a1", upgrade=text, downgrade="DROP TABLE made; SELECT pg_sleep(2)")
    async with Migrator.open(load(str(shop.toml))) as migrator:
        await migrator.upgrade("head")
        await migrator.downgrade("base")
    assert [row[1] for row in runs(shop.urls["main"])] == ["rolled_back", "success"]


@texts
async def test_a_text_that_takes_too_long(shop: Project, text: str) -> None:
    """The step's own limit ends it: exit 1, the limit is named, nothing of it is there."""
    shop.sql("main", "a1", upgrade=text, timeout="1s")
    async with Migrator.open(load(str(shop.toml))) as migrator:
        with pytest.raises(RunFailed, match="took longer than 1 s"):
            await migrator.upgrade("head")
    assert runs(shop.urls["main"]) == [("a1", "failed", "none", "timeout")]
    assert sql(shop.urls["main"], "SELECT to_regclass('made')")[0][0] is None


@pytest.mark.parametrize("way", ["upgrade", "downgrade", "deferred", "script"])
def test_a_signal(shop: Project, way: str) -> None:
    """SIGTERM cancels the statement: 130 within seconds, rolled back, recorded, the lock free."""
    url, slow = shop.urls["main"], "SELECT pg_sleep(60)"
    text = DEFERRED.replace("pg_sleep(3)", "pg_sleep(60)") if way == "deferred" else f"CREATE TABLE made (); {slow}"
    path = shop.sql("main", "a1", upgrade="SELECT 1" if way == "downgrade" else text, downgrade=slow)
    if way == "script":
        path.write_text(path.read_text().replace("-- down_revision: none", "-- repeatable: yes"))
    if way == "downgrade":
        shop.good("upgrade")
    words = {"script": ("run", "a1"), "downgrade": ("downgrade", "base")}.get(way, ("upgrade", "head"))
    child = shop.start(*words)
    until(lambda: pids(url, SLEEPING) or not child.runs(), "the statement runs")
    child.send(signal.SIGTERM)
    assert child.wait(10).exit_code == 130
    assert pids(url, SLEEPING) == []
    assert pids(url, HOLDER) == []
    assert runs(url)[-1][1:] == ("failed", "none", "cancelled")
    assert sql(url, "SELECT to_regclass('made')")[0][0] is None
