"""The watch beside a loop: what it reads, what it does when it cannot, and that nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from migrator import Migrator
from migrator.adapters import memory
from migrator.adapters.postgres import _signals, adapter
from migrator.config import load
from migrator.core.errors import ConfigError
from migrator.core.protocols import Adapter
from migrator.core.throttle import Throttle
from migrator.core.url import Url
from migrator.runtime import batches
from migrator.runtime.throttle import Watch
from tests._servers import sql
from tests.faults import corpus
from tests.faults._pg import Gate
from tests.faults._probe import Probe

OFF = Throttle(lag=None, waiters=None)
SAMPLER = "datname = current_database() AND query LIKE '%pg_blocking_pids%' AND pid <> pg_backend_pid()"


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)
    assert what


@asynccontextmanager
async def watched(throttle: Throttle, database: Adapter, **options: Any) -> AsyncIterator[tuple[Watch, list[str]]]:
    """Give a watch that has begun, and what it tells."""
    told: list[str] = []
    watch = Watch(throttle, database, told.append, **{"interval": 0.1, **options})
    await watch.start()
    try:
        yield watch, told
    finally:
        await watch.stop()


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Adapter]:
    """Give the adapter of an empty database."""
    made: Adapter = adapter("main", Url.parse(postgres_url, "url"), pool=2, connect_timeout=5.0, release="")
    yield made
    await made.force_close()


async def test_the_window_needs_no_look() -> None:
    """A window opens and closes by the clock, without a connection or a task."""
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)
    database = memory.adapter("main", Url.parse("memory://local/x", "url"))
    async with watched(OFF.changed({"window": "13:00-14:00"}), database, clock=lambda: now) as (watch, _):
        assert watch.reason == "window: outside 13:00-14:00, which begins in 1 h 00 min"
        now += timedelta(hours=1)
        assert watch.reason == ""
        now += timedelta(hours=1)
        assert watch.reason.startswith("window: outside")


async def test_a_query_only_reads_and_ends_soon(postgres: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first reading is there before the first batch; a query that writes, is slow or gives a text holds back."""
    monkeypatch.setattr(_signals, "STATEMENT", 100)
    for query, why in {
        "SELECT 2 > 1": "it gave true",
        "SELECT 7 WHERE false": "",
        "SELECT pg_sleep(60)": "cannot be read: could not run the throttle's query: canceling statement due to",
        "CREATE TABLE written ()": "cannot be read: could not run the throttle's query: cannot execute CREATE TABLE",
        "SELECT 'yes'": "cannot be read: it gave str, and not a number or true or false",
        "SELECT": "cannot be read: the throttle's query has no column",
    }.items():
        async with watched(OFF.changed({"query": query}), postgres) as (watch, told):
            assert watch.reason.startswith(f"query: {why}" if why else "")
            assert bool(watch.reason) is bool(why)
            assert told == []


async def test_it_works_beside_everybody(postgres: Adapter, postgres_url: str) -> None:
    """It looks also where all connections are in use; its own is opened anew where it ended, and lag holds back."""
    async with postgres.session(), postgres.context(), watched(Throttle(), postgres) as (watch, told):
        assert watch.reason == ""
        heard: list[str] = []
        ended = await asyncio.to_thread(
            sql, postgres_url, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {SAMPLER}"
        )
        assert [row[0] for row in ended] == [True]
        async with asyncio.timeout(20):
            while not heard or watch.reason:
                heard += [watch.reason] if watch.reason else []
                await asyncio.sleep(0.005)
        assert all(each.startswith("lag: cannot be read: could not look at the server") for each in heard)
        assert told == []


async def test_a_server_that_is_away(postgres_url: str) -> None:
    """A server that does not answer holds back, with the driver's reason, and is asked again."""
    parts = urlsplit(postgres_url)
    with Probe() as nobody:
        port = urlsplit(nobody.url).port
    away: Adapter = adapter(
        "main", Url.parse(f"postgresql://x@{parts.hostname}:{port}/x", "url"), pool=2, connect_timeout=1.0, release=""
    )
    async with watched(Throttle(), away) as (watch, _):
        assert watch.reason.startswith("lag: cannot be read: could not connect to postgresql://x@")


@pytest.mark.parametrize("methods", [("HEAD",), ("GET",), ("HEAD", "GET")])
async def test_a_probe_is_asked_by_head(methods: tuple[str, ...]) -> None:
    """An address is asked by HEAD, and by GET only where it knows no HEAD; it is never shown."""
    database = memory.adapter("main", Url.parse("memory://local/x", "url"))
    with Probe(methods) as probe:
        async with watched(OFF.changed({"http": probe.url}), database) as (watch, _):
            assert watch.reason == "http: cannot be read: Connection refused"
            probe.start(200)
            await until(lambda: not watch.reason, "it says yes")
            probe.status = 503
            await until(lambda: watch.reason, "it says no")
            assert watch.reason == "http: the probe answered 503"
        assert set(probe.asked) == {methods[0]}


def test_the_table_in_the_file(tmp_path: Path) -> None:
    """What migrator.toml says is checked when it is read, and the address of its probe is a secret."""
    file = tmp_path / "migrator.toml"
    text = '[databases.main]\nurl = "postgresql://localhost/x"\n[databases.main.throttle]\n'
    file.write_text(text + 'lagg = "2s"\n')
    with pytest.raises(ConfigError, match=r"databases\.main\.throttle: throttle has no signal 'lagg'") as caught:
        load(str(file), {})
    assert caught.value.hint == "Did you mean lag?"
    file.write_text(text + 'lag = false\nhttp = "${PROBE}"\n')
    config = load(str(file), {"PROBE": "http://probe/check?token=s3cret-s3cret"})
    assert config.database("main").throttle == {"lag": False, "http": "http://probe/check?token=s3cret-s3cret"}
    assert "s3cret" not in config.mask()("it asks http://probe/check?token=s3cret-s3cret")


def written(folder: Path, url: str, gate: Gate) -> None:
    """Write a project with a long change of two batches and a gate in the first."""
    corpus.configure(folder, url)
    loop = ["async for batch in ctx.batches('items', max_rows=10):", "    async with batch:"]
    corpus.revision(folder, "b1", None, [*loop, *(f"        {line}" for line in gate.code)])
    sql(url, "CREATE TABLE items (id int PRIMARY KEY)", "INSERT INTO items SELECT generate_series(1, 20)")


def standing(url: str) -> tuple[int, str]:
    """Return how many rows are done, and why it stands still."""
    row = sql(url, "SELECT rows, waiting FROM script_run_checkpoint")[0]
    return row[0], row[1]


async def test_a_dead_watch_stops_the_loop(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody looks any more the loop stands still once the last reading is too old, and can still be ended."""
    gate, made = Gate(tmp_path / "gate"), list[Watch]()

    class Known(Watch):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, stale=0.5)
            made.append(self)

    monkeypatch.setattr(batches, "Watch", Known)
    written(tmp_path / "project", postgres_url, gate)
    async with Migrator.open(load(str(tmp_path / "project" / "migrator.toml"), {})) as migrator:
        upgrade = asyncio.create_task(migrator.upgrade())
        await until(gate.here.exists, "the first batch is open")
        for task in made[0]._tasks:
            task.cancel()
        await until(lambda: "stale" in made[0].reason, "the readings are old")
        gate.open.touch()
        await until(lambda: standing(postgres_url)[1], "it stands still")
        rows, why = standing(postgres_url)
        assert (rows, why.startswith("lag: stale, the last reading is ")) == (10, True)
        upgrade.cancel()
        with suppress(asyncio.CancelledError):
            await upgrade


async def test_the_loop_goes_on_in_its_window(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that leaves its window stands still after the batch, and goes on when the window comes again."""
    now = datetime(2026, 6, 1, 13, 59, tzinfo=UTC)
    gate = Gate(tmp_path / "gate")
    monkeypatch.setattr(batches, "Watch", partial(Watch, clock=lambda: now))
    written(tmp_path / "project", postgres_url, gate)
    with (tmp_path / "project" / "migrator.toml").open("a") as file:
        file.write('throttle = { window = "13:00-14:00" }\n')
    async with Migrator.open(load(str(tmp_path / "project" / "migrator.toml"), {})) as migrator:
        upgrade = asyncio.create_task(migrator.upgrade())
        await until(gate.here.exists, "the first batch is open")
        now += timedelta(minutes=1)
        gate.open.touch()
        await until(lambda: standing(postgres_url)[1], "it stands still")
        assert standing(postgres_url) == (10, "window: outside 13:00-14:00, which begins in 23 h 00 min")
        now += timedelta(hours=23)
        await upgrade
    assert standing(postgres_url) == (20, "")
    assert sql(postgres_url, "SELECT throttled ->> 'window' FROM script_run_checkpoint")[0][0] is not None
