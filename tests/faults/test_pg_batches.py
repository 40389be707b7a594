"""A long change under cuts: every row exactly once; and two bugs that would break it, seeded to show they are seen."""

import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from migrator.adapters.postgres._ledger import PostgresLedger
from migrator.core.batch import Checkpoint
from migrator.runtime import runs as making
from tests._servers import Servers
from tests.faults import corpus
from tests.faults._sweep import Sweep, upgrade
from tests.faults.checker import Ordered
from tests.faults.proxy import POSTGRES, Do, Message, Proxy
from tests.faults.test_pg_guards import judged, since

SAMPLE = 12
"""How many points a moment has in CI; MIGRATOR_FAULTS=all sweeps all of them."""

_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
_MAKE = [
    'await ctx.execute("CREATE TABLE evidence (revision text)")',
    'await ctx.execute("CREATE TABLE walked (id int PRIMARY KEY, n int DEFAULT 0)")',
    'await ctx.execute("INSERT INTO walked SELECT i FROM generate_series(1, 40) AS i")',
    "await ctx.execute(\"INSERT INTO evidence VALUES ('w1')\")",
]
_WALK = [
    'async for batch in ctx.batches("walked", max_rows=10, throttle={"lag": False, "waiters": False}):',
    "    async with batch:",
    '        await ctx.execute("UPDATE walked SET n = n + 1 WHERE id BETWEEN $1 AND $2", batch.first, batch.last)',
]


@pytest.fixture
def sweep(servers: Servers, folder: Path) -> Iterator[Sweep]:
    """Give a sweep over a long change of four batches."""
    url = servers.url("postgres18")
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    corpus.configure(folder, url)
    ordered = [corpus.revision(folder, "w1", None, _MAKE)]
    made = corpus.revision(folder, "w2", "w1", _WALK)
    ordered.append(Ordered(made.id, transactional=False, counted="walked"))
    with Proxy(parts.hostname, parts.port, POSTGRES) as proxy:
        yield Sweep(folder, url, proxy, ordered)


@pytest.mark.parametrize("what", [Do.CUT_BEFORE, Do.CUT_AFTER, Do.CUT_REPLY], ids=lambda what: what.name)
async def test_every_message_of_a_long_change(sweep: Sweep, what: Do, seed: int, everything: bool) -> None:
    """Wherever the connection is cut, a plain `upgrade head` goes on, and ends with every row changed exactly once."""
    points = list(range(1, await sweep.count() + 1))
    if not everything:
        points = sorted(random.Random(seed).sample(points[len(points) // 3 :], SAMPLE))  # before it, nothing walks
    for number in points:
        await sweep.point(number, what)
    print(f"{what.name}: {sweep.tally.points} points of {sweep.tally.messages} messages, exits {sweep.tally.codes}")
    assert sweep.tally.violations == []


async def commits(sweep: Sweep) -> list[int]:
    """Run once without a cut, and return the numbers of the messages that commit a batch, or the end of the walk."""
    found: list[int] = []

    def listen(message: Message) -> Do:
        found.extend([message.number] * (message.payload == _COMMIT))
        return Do.PASS

    async with sweep._database() as url:
        sweep._proxy.reset(listen)
        assert await upgrade(sweep._folder, sweep._proxy.url(url)) == 0
    return found


def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save the cursor apart, behind its batch."""
    moved = PostgresLedger.moved

    @asynccontextmanager
    async def late(
        self: PostgresLedger, old: Checkpoint, new: Checkpoint, *, seconds: float = 0.0
    ) -> AsyncIterator[None]:
        async with moved(self, old, old, seconds=seconds):
            yield
        async with moved(self, old, new):
            pass

    monkeypatch.setattr(PostgresLedger, "moved", late)


def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each attempt begin at the first row."""
    run_of = making.new_run

    def fresh(*args: Any, **options: Any) -> Any:
        run = run_of(*args, **options)
        return replace(run, cursor={"origin": run.run_id}) if run.origin else run

    monkeypatch.setattr("migrator.runtime.runner.new_run", fresh)


@pytest.mark.parametrize("bug", [None, apart, anew], ids=["guarded", "cursor apart", "begun anew"])
async def test_a_bug_is_seen(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, bug: Callable[[pytest.MonkeyPatch], None] | None
) -> None:
    """With the cursor saved apart from its batch, or an attempt begun anew, a cut makes rows change twice."""
    if bug is not None:
        bug(monkeypatch)
    began = time.monotonic()
    for number in await commits(sweep):
        await sweep.point(number, Do.CUT_REPLY)
        if sweep.tally.violations and bug is not None:
            break
    judged(bug is None, sweep.tally.violations, f"{sweep.tally.points} commits {since(began)}")
