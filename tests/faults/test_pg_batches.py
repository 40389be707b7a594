"""A long change under cuts: every row exactly once; and two bugs that would break it, seeded to show that it is seen."""

import random
import time
from collections.abc import AsyncIterator, Iterator
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
from tests.faults._sweep import Sweep
from tests.faults.checker import Ordered
from tests.faults.proxy import POSTGRES, Do, Proxy
from tests.faults.test_pg_guards import both, judged, since

SAMPLE = 12
"""How many points a moment has in CI; MIGRATOR_FAULTS=all sweeps all of them."""

_MAKE = [
    'await ctx.execute("CREATE TABLE evidence (revision text); CREATE TABLE walked (id int PRIMARY KEY, n int DEFAULT 0)")',
    'await ctx.execute("INSERT INTO walked SELECT i FROM generate_series(1, 40) AS i")',
    "await ctx.execute(\"INSERT INTO evidence VALUES ('w1')\")",
]
_WALK = [
    'async for batch in ctx.batches("walked", max_rows=10):',
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


async def seen(sweep: Sweep, guarded: bool) -> None:
    """Cut at the reply of each message of the walk, up to the first violation where one must be."""
    began = time.monotonic()
    last = await sweep.count()
    for number in range(last // 2, last - 4, 3 if guarded else 1):
        await sweep.point(number, Do.CUT_REPLY)
        if sweep.tally.violations and not guarded:
            break
    judged(guarded, sweep.tally.violations, f"{sweep.tally.points} positions of {sweep.tally.messages} {since(began)}")


@both
async def test_the_cursor_commits_with_its_batch(sweep: Sweep, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """With the cursor saved apart, behind its batch, a cut between the two changes rows twice."""
    moved = PostgresLedger.moved

    @asynccontextmanager
    async def apart(
        self: PostgresLedger, old: Checkpoint, new: Checkpoint, *, seconds: float = 0.0
    ) -> AsyncIterator[None]:
        async with moved(self, old, old, seconds=seconds):
            yield
        async with moved(self, old, new):
            pass

    if not guarded:
        monkeypatch.setattr(PostgresLedger, "moved", apart)
    await seen(sweep, guarded)


@both
async def test_an_attempt_goes_on(sweep: Sweep, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """Where the next attempt begins at the first row again, what the one before it did is done twice."""
    run_of = making.new_run

    def anew(*args: Any, **options: Any) -> Any:
        run = run_of(*args, **options)
        return replace(run, cursor={"origin": run.run_id}) if run.origin else run

    if not guarded:
        monkeypatch.setattr("migrator.runtime.runner.new_run", anew)
    await seen(sweep, guarded)
