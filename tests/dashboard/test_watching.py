"""Looking on at a run: one question for all who do, and no waiting for what does not come."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from migrator.config import load
from migrator.core.run import Run
from migrator.core.runs import RunFilter
from migrator.dashboard._asking import Asking
from migrator.dashboard._watching import Away, Ended, LogLines, RunState, Seen, watch
from tests._servers import sql, with_database
from tests.acceptance._project import LIMIT, Project, until

WAITS = 'import asyncio\nctx.log.info("here")\nawait asyncio.sleep(60)'


@pytest.fixture
def waiting(shop: Project) -> Project:
    """Give a project in which a run goes on."""
    shop.revision("main", "a1", upgrade=WAITS, transaction=False)
    shop.start("upgrade")
    until(lambda: [log for log in shop.folder.glob("logs/*.log") if "here" in log.read_text()], "it runs")
    return shop


@pytest.fixture
async def asking(waiting: Project) -> AsyncIterator[Asking]:
    """Give what the API asks with."""
    made = Asking(load(str(waiting.toml), {}))
    async with made.open():
        yield made


async def the_run(asking: Asking) -> Run:
    """Return the one run."""
    (run,) = (await asking.questions.past.runs(RunFilter())).runs
    return run


async def test_many_look_on(asking: Asking) -> None:
    """All are told the same value, the answer to one question; when this server stops, nobody is kept waiting."""
    run = await the_run(asking)
    many = [watch(asking, run) for _ in range(20)]
    states = [seen for _, seen in await asyncio.gather(*(anext(each) for each in many))]
    assert isinstance(states[0], RunState)
    assert states[0].standing == "running"
    assert len({id(seen) for seen in states}) == 1
    lines = [seen for _, seen in await asyncio.gather(*(anext(each) for each in many))]
    assert len({id(seen.page) for seen in lines if isinstance(seen, LogLines)}) == 1
    rest = asyncio.gather(*(anext(each, None) for each in many))
    asking.stopping.set()
    assert set(await asyncio.wait_for(rest, LIMIT)) == {None}


async def test_a_database_that_goes_away(asking: Asking, waiting: Project) -> None:
    """It is told that it is away, and how the run stands when it is back; then nothing comes any more."""
    url = waiting.urls["main"]
    name = url.rpartition("/")[2].partition("?")[0]
    seen: list[Seen] = []
    async for _, each in watch(asking, await the_run(asking)):
        if isinstance(each, LogLines):
            waiting.close()
            close = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            sql(with_database(url, "postgres"), f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", close)
        if isinstance(each, Away):
            sql(with_database(url, "postgres"), f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        seen.append(each)
    kinds = [type(each) for each in seen]
    assert kinds[:2] == [RunState, LogLines]
    assert kinds.count(Away) == 1
    assert kinds[kinds.index(Away) + 1] is RunState
    (last,) = [each for each in seen if isinstance(each, Ended)]
    assert last is seen[-1]
    assert last.state is not None
    assert last.state.standing == "interrupted"
