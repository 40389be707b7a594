"""A server that falls silent at any message, with the connection open: every call is bounded, and the next is right."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from migrator.adapters.postgres._link import Link
from tests._servers import Servers
from tests.faults import corpus
from tests.faults._sweep import Sweep
from tests.faults.proxy import POSTGRES, Do, Proxy

SAMPLE = 6
"""How many points CI has; MIGRATOR_FAULTS=all sweeps all of them, in some minutes."""

SOON = 'timeout = "1s"'
SECOND = 'connect_timeout = "1s"'


@pytest.fixture
def sweep(servers: Servers, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    """Give a sweep over two small steps, in which every limit that there is counts as one second."""
    send = Link._send

    async def hasty(self: Link, call: Any, args: Any, doing: str, parts: Any, limit: float | None) -> Any:
        return await send(self, call, args, doing, parts, limit and 1.0)

    monkeypatch.setattr(Link, "_send", hasty)
    url = servers.url("postgres18")
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    with Proxy(parts.hostname, parts.port, POSTGRES) as proxy:
        yield Sweep(folder, url, proxy, corpus.transactional(folder, url, 2), top=SOON, more=SECOND)


async def test_silence_at_any_message(sweep: Sweep, seed: int, everything: bool) -> None:
    """Whichever message is the last that the server sees: no call waits for ever, and the next upgrade is right."""
    points = list(range(1, await sweep.count() + 1))
    if not everything:
        points = sorted(random.Random(seed).sample(points, SAMPLE))
    for number in points:
        await sweep.point(number, Do.SWALLOW)
    print(f"{sweep.tally.points} points of {sweep.tally.messages} messages, exits {sweep.tally.codes}")
    assert sweep.tally.violations == []
