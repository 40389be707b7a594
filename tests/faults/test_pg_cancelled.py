"""A request to stop is never lost: it is made at every await of a command, with connections that break meanwhile."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from migrator.adapters.postgres._adapter import PostgresAdapter
from migrator.config import load
from migrator.core.errors import MigratorError
from migrator.core.throttle import Throttle
from migrator.core.url import Url
from migrator.runtime.migrator import Migrator
from migrator.runtime.throttle import Watch
from tests._servers import sql
from tests.acceptance._project import Project
from tests.faults.proxy import Do, Proxy, first, says

LIMIT = 60.0
"""Seconds in which a command that was asked to stop must end."""

POINTS = 12
"""At how many awaits, evenly chosen, a command is stopped; MIGRATOR_FAULTS=all takes all of them."""

END = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name LIKE 'migrator:%'
"""
CHANGE = """
async for batch in ctx.batches("items", workers={workers}, max_rows=20, throttle={{"lag": "1h", "waiters": 100}}):
    async with batch:
        await ctx.execute("UPDATE items SET n = n + 1 WHERE id BETWEEN $1 AND $2", batch.first, batch.last)
"""


class Steps:
    """Counts how often any task of a loop waits, and does something at one of these times."""

    def __init__(self, at: int, do: Callable[[], object]) -> None:
        self.seen = 0
        self._at = at
        self._do = do

    def factory(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        """Make a task whose waits are counted."""
        return asyncio.Task(Counted(work, self), loop=loop, **options)

    def count(self) -> None:
        """Note that a task begins to wait."""
        self.seen += 1
        if self.seen == self._at:
            self._do()


class Counted(Coroutine[Any, Any, Any]):
    """A coroutine that tells when it begins to wait."""

    def __init__(self, work: Coroutine[Any, Any, Any], steps: Steps) -> None:
        self._work = work
        self._steps = steps

    def send(self, value: Any) -> Any:
        """Go on to the next wait."""
        waits = self._work.send(value)
        self._steps.count()
        return waits

    def throw(self, *error: Any) -> Any:
        """Go on with an error to the next wait."""
        waits = self._work.throw(*error)
        self._steps.count()
        return waits

    def close(self) -> None:
        """End it."""
        self._work.close()

    def __await__(self) -> Any:
        return self._work.__await__()


@pytest.fixture
def project(tmp_path: Path, postgres_url: str) -> Project:
    """Give a project with a long change over a hundred rows."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    made.configure(main=postgres_url)
    sql(postgres_url, "CREATE TABLE items (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)")
    sql(postgres_url, "INSERT INTO items SELECT i FROM generate_series(1, 100) AS i", "ANALYZE items")
    return made


def stopped_at(project: Project, at: int, *, broken: bool) -> tuple[BaseException | None, int]:
    """Stop an upgrade at one of its waits; return how it ended, and how often it waited."""
    migrator = Migrator(load(str(project.toml), {}))

    async def upgrade() -> tuple[BaseException | None, int]:
        def stop() -> None:
            if broken:
                sql(project.urls["main"], END)
            command.cancel()

        steps = Steps(at, stop)
        asyncio.get_running_loop().set_task_factory(steps.factory)
        command = asyncio.ensure_future(migrator.upgrade("head"))
        async with asyncio.timeout(LIMIT):
            with suppress(BaseException):
                await asyncio.wait([command])
        return (asyncio.CancelledError() if command.cancelled() else command.exception()), steps.seen

    return asyncio.run(upgrade())


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("broken", [False, True], ids=["", "broken"])
def test_at_every_await(project: Project, workers: int, broken: bool, everything: bool) -> None:
    """The command ends, and says that it was stopped unless all was done; the next one does the rest exactly once."""
    url = project.urls["main"]
    project.revision("main", "a1", upgrade=CHANGE.format(workers=workers))
    again = ("DROP TABLE script_run_tracker, script_run_lock, script_run_checkpoint CASCADE", "UPDATE items SET n = 0")
    ended, total = stopped_at(project, -1, broken=False)
    assert ended is None
    for at in range(1, total, 1 if everything else max(total // POINTS, 1)):
        sql(url, *again)
        ended, _ = stopped_at(project, at, broken=broken)
        right = asyncio.CancelledError if not broken else (asyncio.CancelledError, MigratorError)
        assert ended is None or isinstance(ended, right), (at, ended)
        left, _ = stopped_at(project, -1, broken=False)
        assert left is None, (at, left)
        assert [tuple(row) for row in sql(url, "SELECT n, count(*) FROM items GROUP BY n")] == [(1, 100)], at


async def test_the_connection_beside_breaks_as_it_is_given_back(proxy: Proxy, postgres_url: str) -> None:
    """What looks at the signals ends when it is told to, though its connection breaks while it lets go of it."""
    url = Url.parse(proxy.url(postgres_url), "the test")
    adapter = PostgresAdapter("main", url, pool=2, connect_timeout=5.0, release="", tracker="")
    watch = Watch(Throttle(waiters=100), adapter, print)
    await watch.start()
    proxy.reset(first(says(b"DISCARD ALL"), Do.CUT_BEFORE))
    async with asyncio.timeout(LIMIT):
        await watch.stop()
    assert proxy.fired


async def test_the_connection_breaks_as_it_is_given_back(proxy: Proxy, project: Project, postgres_url: str) -> None:
    """What breaks when all is done changes nothing: the upgrade is a success."""
    project.revision("main", "a1", upgrade='await ctx.execute("UPDATE items SET n = 1")')
    project.configure(main=proxy.url(postgres_url))
    proxy.reset(first(says(b"DISCARD ALL"), Do.CUT_BEFORE))
    outcome = await Migrator(load(str(project.toml), {})).upgrade("head")
    assert len(outcome.runs) == 1
    assert proxy.fired
