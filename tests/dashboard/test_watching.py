"""Looking on at a run: one question for all who do, and an end when the server stops."""

import asyncio
from contextlib import aclosing

from migrator.config import load
from migrator.core.errors import ConnectionLost
from migrator.core.runs import RunFilter
from migrator.dashboard._asking import Asking
from migrator.dashboard._watching import Away, Ended, LogLines, RunState, watch
from tests._servers import sql
from tests.acceptance._project import Project, until

WAITS = 'import asyncio\nctx.log.info("here")\nawait asyncio.sleep(60)'


async def test_looking_on(shop: Project) -> None:
    """All who look on are told the same value, of one question; it is told when the server is away and is back again;
    and nobody is kept waiting when this server stops.
    """
    shop.revision("main", "a1", upgrade=WAITS, transaction=False)
    child = shop.start("upgrade")
    until(lambda: [log for log in shop.folder.glob("logs/*.log") if "here" in log.read_text()], "it runs")
    asking = Asking(load(str(shop.toml), {}))
    async with asking.open():
        (run,) = (await asking.migrator.past.runs(RunFilter())).runs
        many = [watch(asking, run) for _ in range(20)]
        first = [seen for _, seen in await asyncio.gather(*(anext(each) for each in many))]
        assert len({id(seen) for seen in first}) == 1
        assert isinstance(first[0], RunState)
        assert first[0].standing == "running"
        lines = [seen for _, seen in await asyncio.gather(*(anext(each) for each in many))]
        assert len({id(seen.page) for seen in lines if isinstance(seen, LogLines)}) == 1
        sql(shop.urls["main"], "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        child.wait()
        async with aclosing(many.pop()) as one:
            told = [seen async for _, seen in one]
        assert isinstance(told[-1], Ended)
        assert told[-1].state is not None
        assert told[-1].state.standing == "interrupted"
        assert not any(isinstance(seen, Away) for seen in told) or ConnectionLost
        rest = [asyncio.create_task(anext(each, None)) for each in many]
        asking.stopping.set()
        await asyncio.wait_for(asyncio.gather(*rest), 5)
        for each in many:
            await each.aclose()
