"""A deployment whose connection is cut before, after, and in the reply of every message that it sends, one by one."""

import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests._servers import Servers
from tests.faults import corpus
from tests.faults._sweep import Sweep
from tests.faults.proxy import POSTGRES, Do, Proxy

SAMPLE = 20
"""How many points a moment has in CI; MIGRATOR_FAULTS=all sweeps all of them, in three minutes."""


@pytest.fixture
def sweep(servers: Servers, folder: Path) -> Iterator[Sweep]:
    """Give a sweep over the project of all kinds."""
    url = servers.url("postgres18")
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    with Proxy(parts.hostname, parts.port, POSTGRES) as proxy:
        yield Sweep(folder, url, proxy, corpus.write(folder, url))


@pytest.mark.parametrize("what", [Do.CUT_BEFORE, Do.CUT_AFTER, Do.CUT_REPLY], ids=lambda what: what.name)
async def test_every_message(sweep: Sweep, what: Do, seed: int, everything: bool) -> None:
    """Wherever the connection is cut, a plain `upgrade head` ends with everything applied exactly once."""
    points = list(range(1, await sweep.count() + 1))
    if not everything:
        points = sorted(random.Random(seed).sample(points, SAMPLE))
    for number in points:
        await sweep.point(number, what)
    print(f"{what.name}: {sweep.tally.points} points of {sweep.tally.messages} messages, exits {sweep.tally.codes}")
    assert sweep.tally.points == len(points)
    assert sweep.tally.violations == []
