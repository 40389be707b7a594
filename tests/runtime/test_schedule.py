"""Schedules: each firing once, across changes of the clock, however many instances; and what the database keeps."""

import asyncio
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from zoneinfo import ZoneInfo

import pytest
from prometheus_client.parser import text_string_to_metric_families

from migrator.config import Config, load
from migrator.core.errors import ConfigError
from migrator.core.schedule import Firing, Missed, Schedule, chore_of, due, moment_of, runs, text_of
from migrator.runtime.migrator import Migrator
from migrator.runtime.scheduler import Scheduler, followed
from tests._servers import sql
from tests.acceptance._project import Project
from tests.faults.deployer import until

BERLIN = ZoneInfo("Europe/Berlin")


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, start: datetime) -> None:
        self.now = start

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def project(tmp_path: Path, postgres_url: str) -> Iterator[Project]:
    """Give a project with a script that notes when it ran."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    made.configure(main=postgres_url)
    sql(postgres_url, "CREATE TABLE fired (at timestamptz DEFAULT clock_timestamp())")
    made.revision("main", "tick", upgrade='await ctx.execute("INSERT INTO fired DEFAULT VALUES")', repeatable=True)
    yield made
    made.close()


def scheduled(project: Project, *lines: str) -> Config:
    """Add one schedule, and load the configuration."""
    text = "\n[schedule.often]\n" + "\n".join(lines) + "\n"
    project.toml.write_text(project.toml.read_text() + text, "utf-8")
    return load(str(project.toml), {})


def fired(project: Project) -> int:
    """Return how often the script ran."""
    return int(sql(project.urls["main"], "SELECT count(*) FROM fired")[0][0])


async def last(config: Config) -> Firing:
    """Return the last firing of the one schedule."""
    async with Migrator.open(config) as migrator:
        (kept,) = await migrator.past.firings()
    return kept


async def test_two_instances_and_a_change_of_the_clock(project: Project) -> None:
    """Two instances do 20 firings across the night in which summer time ends: each once, at the hours of the zone."""
    config = scheduled(project, 'script = "tick"', 'cron = "30 * * * *"', 'time_zone = "Europe/Berlin"')
    clock = Clock(datetime(2026, 10, 24, 22, 0, tzinfo=UTC))
    both = [Scheduler(config, now=clock), Scheduler(config, now=clock)]
    try:
        await both[0].tick()
        claimed: list[Firing] = []
        for _ in range(20):
            clock.now += timedelta(hours=1)
            claimed += [each for found in await asyncio.gather(*(one.tick() for one in both)) for each in found]
            await asyncio.gather(*(one.settled() for one in both))
        hours = [moment_of(each.due).astimezone(BERLIN).strftime("%H:%M %Z") for each in claimed]
        assert len(claimed) == len({each.due for each in claimed}) == 20
        assert hours[:5] == ["00:30 CEST", "01:30 CEST", "02:30 CEST", "02:30 CET", "03:30 CET"]
        assert fired(project) == 20
        kept = await last(config)
        assert (kept.word, kept.runs, kept.message) == ("ok", 20, "1 run")
    finally:
        for one in both:
            await one.close()


@pytest.mark.parametrize(("missed", "ran", "word"), [("once", 1, "ok"), ("skip", 0, "missed")])
async def test_missed(project: Project, missed: str, ran: int, word: str) -> None:
    """After hours in which nobody was there the newest firing runs once, or is only noted."""
    config = scheduled(project, 'script = "tick"', 'every = "1h"', f'missed = "{missed}"')
    clock = Clock(datetime(2026, 11, 21, 3, 30, tzinfo=UTC))
    one = Scheduler(config, now=clock)
    try:
        await one.tick()
        clock.now += timedelta(hours=7)
        await one.tick()
        await one.settled()
        kept = await last(config)
        assert (kept.word, kept.due, fired(project)) == (word, "2026-11-21T10:00:00.000Z", ran)
    finally:
        await one.close()


async def test_max_runs_and_failure(project: Project) -> None:
    """A firing that fails is kept with its reason, the next one comes all the same, and after max_runs none."""
    project.revision("main", "tick", upgrade='raise ValueError("no")', repeatable=True)
    config = scheduled(project, 'script = "tick"', 'every = "1m"', "max_runs = 2")
    clock = Clock(datetime(2026, 11, 21, 3, 0, 30, tzinfo=UTC))
    one = Scheduler(config, now=clock)
    try:
        for _ in range(5):
            await one.tick()
            await one.settled()
            clock.now += timedelta(minutes=1)
        kept = await last(config)
        assert (kept.word, kept.runs) == ("failed", 2)
        assert "no" in kept.message
    finally:
        await one.close()


def test_two_programs(project: Project) -> None:
    """Two processes on one database run each firing once, serve metrics, and end well with SIGTERM."""
    config = scheduled(project, 'script = "tick"', 'every = "1s"', "max_runs = 4")
    port = _free_port()
    listening = project.folder / "listening.toml"
    listening.write_text(project.toml.read_text() + f'\n[metrics]\nlisten = "127.0.0.1:{port}"\n', "utf-8")
    with_port = project.start("schedule", "--config", str(listening))
    until(lambda: _answers(port), "the metrics are served")
    without = project.start("schedule")
    until(lambda: fired(project) == 4, "four firings")
    until(lambda: _runs_done(port) is not None, "a run is counted or told")
    for child in (with_port, without):
        child.send(signal.SIGTERM)
        assert child.wait().exit_code == 0
    assert fired(project) == 4
    shown = project.good("schedule", "status", "--json").json()["schedules"]
    assert [(each["name"], each["word"], each["runs"]) for each in shown] == [("often", "ok", 4)]
    assert config.schedules[0].max_runs == 4


def test_stopped_in_the_middle(project: Project) -> None:
    """SIGTERM gives a firing some seconds, then it is stopped like any run, and the database says so."""
    project.revision("main", "tick", upgrade='await ctx.execute("SELECT pg_sleep(120)")', repeatable=True)
    scheduled(project, 'script = "tick"', 'every = "1s"', "max_runs = 1")
    child = project.start("schedule")
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    until(lambda: sql(project.urls["main"], sleeping), "the script sleeps")
    child.send(signal.SIGTERM)
    assert child.wait().exit_code == 0
    assert sql(project.urls["main"], sleeping) == []
    (kept,) = project.good("schedule", "status", "--json").json()["schedules"]
    assert kept["word"] == "failed"
    assert kept["message"].startswith("stopped with the scheduler")


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        ((), "names nothing to run"),
        (('script = "tick"',), "either cron or every"),
        (('script = "tick"', 'cron = "61 * * * *"'), "no cron expression"),
        (('script = "tick"', 'cron = "0 0 30 2 *"'), "no cron expression"),
        (('script = "tick"', 'cron = "0 3 * * *"', 'time_zone = "Mars/Base"'), "no time zone"),
        (('script = "tick"', 'every = "0s"'), "one second is the least"),
        (('task = "verify"', 'script = "tick"', 'every = "1h"'), "takes no script"),
        (('script = "tick"', 'evry = "1h"'), "unknown key schedule.often.evry"),
    ],
)
def test_what_cannot_be(project: Project, lines: tuple[str, ...], part: str) -> None:
    """A schedule that cannot be is refused with its key, before anything runs."""
    with pytest.raises(ConfigError, match=part):
        scheduled(project, *lines)


def test_cleanup_interval(project: Project) -> None:
    """CLEANUP_INTERVAL is a schedule of its own, and the clean-up runs."""
    config = load(str(project.toml), {"CLEANUP_INTERVAL": "1s"})
    assert [each.name for each in config.schedules] == ["cleanup"]
    child = project.start("schedule", env={"CLEANUP_INTERVAL": "1s"})

    def cleaned() -> bool:
        shown = project.good("schedule", "status", "--json").json()["schedules"]
        return [each["word"] for each in shown] == ["ok"]

    until(cleaned, "the clean-up ran")
    child.send(signal.SIGTERM)
    assert child.wait().exit_code == 0


def test_the_gap_of_spring() -> None:
    """A firing in the hour that spring leaves out comes right after it; one in the hour that comes twice, once."""
    nightly = followed(Schedule("x", cron="30 2 * * *", zone="Europe/Berlin"))
    start = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert text_of(nightly(start)) == "2026-03-29T01:00:00.000Z"
    autumn = nightly(datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert nightly(autumn) - autumn == timedelta(hours=25)


@pytest.mark.parametrize(
    ("cron", "spring", "autumn"),
    [
        ("30 */2 * * *", ["00:30", "03:00", "04:30"], ["00:30", "02:30", "04:30"]),
        ("30 0-23/2 * * *", ["00:30", "03:00", "04:30"], ["00:30", "02:30", "04:30"]),
        ("30 0,2,4 * * *", ["00:30", "03:00", "04:30"], ["00:30", "02:30", "04:30"]),
        ("*/30 2 * * *", ["03:00"], ["02:00", "02:30"]),
        ("30 * * * *", ["00:30", "01:30", "03:30", "04:30"], ["00:30", "01:30", "02:30", "02:30", "03:30", "04:30"]),
        ("30 */1 * * *", ["00:30", "01:30", "03:30", "04:30"], ["00:30", "01:30", "02:30", "02:30", "03:30", "04:30"]),
    ],
)
def test_hours_across_changes_of_the_clock(cron: str, spring: list[str], autumn: list[str]) -> None:
    """Times of the clock come once, in the gap right after it; `*` for the hour is every hour that passes."""
    after = followed(Schedule("x", cron=cron, zone="Europe/Berlin"))
    for day, expected in (
        (datetime(2026, 3, 29, tzinfo=BERLIN), spring),
        (datetime(2026, 10, 25, tzinfo=BERLIN), autumn),
    ):
        moment, found = day.astimezone(UTC), []
        while (moment := after(moment)) < day.replace(hour=5).astimezone(UTC):
            found.append(moment.astimezone(BERLIN).strftime("%H:%M"))
        assert found == expected


def test_first_seen_in_the_hour_that_comes_twice() -> None:
    """Whoever looks in the second of the two hours is not told a time that has passed."""
    after = followed(Schedule("x", cron="30 2 * * *", zone="Europe/Berlin"))
    second = datetime(2026, 10, 25, 2, 15, tzinfo=BERLIN, fold=1).astimezone(UTC)
    assert after(second) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@pytest.fixture(params=["main", "events"])
def home(request: pytest.FixtureRequest, both: Project) -> Project:
    """Give a project whose firings are kept on PostgreSQL, then on MongoDB, with a script that waits for a file."""
    name = str(request.param)
    first = {name: both.urls[name], **both.urls}
    both.configure(**first)
    wait = f"""
    import asyncio, pathlib
    here = pathlib.Path({str(both.folder)!r})
    (here / "began").touch()
    while not (here / "go").exists():
        await asyncio.sleep(0.01)
    """
    both.revision(name, "tick", upgrade=wait, repeatable=True)
    return both


async def test_one_at_a_time(home: Project) -> None:
    """While a firing runs, here or elsewhere, no other begins; those that were missed are one, which says so."""
    config = scheduled(home, 'script = "tick"', 'every = "1m"')
    clock = Clock(datetime(2026, 11, 21, 3, 0, 30, tzinfo=UTC))
    both = [Scheduler(config, now=clock), Scheduler(config, now=clock)]
    try:
        await both[0].tick()
        clock.now += timedelta(minutes=1)
        (first,) = await both[0].tick()
        await asyncio.to_thread(until, (home.folder / "began").exists, "it runs")
        for _ in range(3):
            clock.now += timedelta(minutes=1)
            assert [await one.tick() for one in both] == [[], []]
        kept = await last(config)
        assert (kept.word, kept.due, kept.runs) == ("running", first.due, 1)
        (home.folder / "go").touch()
        await both[0].settled()
        (second,) = await both[1].tick()
        assert second.due == "2026-11-21T03:04:00.000Z"
        await both[1].settled()
        kept = await last(config)
        assert (kept.word, kept.runs, kept.message) == ("ok", 2, "1 run; merged with 2 missed before it")
        assert await both[0].tick() == []
    finally:
        for one in both:
            await one.close()


async def test_killed(home: Project) -> None:
    """A firing whose process was killed is interrupted, as its run is; its lease runs out, and the next comes."""
    scheduled(home, 'script = "tick"', 'every = "1s"', "max_runs = 2")
    child = home.start("schedule")
    await asyncio.to_thread(until, (home.folder / "began").exists, "it runs")
    config = load(str(home.toml), {})
    assert (await last(config)).word == "running"
    child.send(signal.SIGKILL)
    child.wait()
    async with Migrator.open(config) as migrator:
        adapter = await migrator._connections.adapter(next(iter(config.databases)))
        async with adapter.session() as session:
            assert await session.lease(chore_of("often")).holder() is not None
    await _let_lapse(home)
    kept = await last(config)
    assert (kept.word, kept.runs) == ("interrupted", 1)
    (home.folder / "go").touch()
    one = Scheduler(config, now=lambda: datetime.now(UTC) + timedelta(hours=1))
    try:
        assert len(await one.tick()) == 1
        await one.settled()
        kept = await last(config)
        word = "ok" if one._home == "main" else "failed"  # outside of a transaction a person has to look
        assert (kept.word, kept.runs, kept.next) == (word, 2, "")
    finally:
        await one.close()


async def test_over(project: Project) -> None:
    """After max_runs nothing is due again, and the status says so; so it is for one that was taken out."""
    config = scheduled(project, 'script = "tick"', 'every = "1m"', "max_runs = 1")
    clock = Clock(datetime(2026, 11, 21, 3, 0, 30, tzinfo=UTC))
    one = Scheduler(config, now=clock)
    try:
        await one.tick()
        clock.now += timedelta(minutes=1)
        await one.tick()
        await one.settled()
    finally:
        await one.close()
    assert (await last(config)).next == ""
    (shown,) = project.good("schedule", "status", "--json").json()["schedules"]
    assert (shown["word"], shown["next"]) == ("ok", "")
    project.toml.write_text(project.toml.read_text("utf-8").split("[schedule.often]")[0], "utf-8")
    (shown,) = project.good("schedule", "status", "--json").json()["schedules"]
    assert shown["next"] == ""


@pytest.mark.parametrize("line", ['script = "tock"', 'tag = "nothing"', 'script = "main:tock"'])
def test_unknown_scripts(project: Project, line: str) -> None:
    """A schedule of a script, or a tag, that no file has is refused when the scheduler starts."""
    scheduled(project, line, 'every = "1h"')
    done = project.run("schedule")
    assert done.exit_code == 3
    assert "schedule.often" in done.stderr


async def _let_lapse(project: Project) -> None:
    """Move the end of every lease of a schedule into the past, as time does."""
    if next(iter(project.urls)) == "main":
        sql(project.urls["main"], "UPDATE script_run_lock SET expires_at = 'epoch' WHERE name LIKE 'schedule %'")
        return
    import pymongo

    with pymongo.MongoClient[dict[str, Any]](project.urls["events"]) as client:
        found = client.get_default_database().script_run_lock
        found.update_many({"expires": {"$exists": True}}, {"$set": {"expires": datetime(1970, 1, 1, tzinfo=UTC)}})


def test_which_firing_is_due() -> None:
    """Of many that are due the newest counts; an interval falls on the same moments for everybody."""
    after = followed(Schedule("x", every=600.0))
    last = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    assert due(last, last + timedelta(minutes=9), after) is None
    assert due(last, last + timedelta(minutes=35), after) == (last + timedelta(minutes=30), 2)
    assert runs(Schedule("x", missed=Missed.SKIP), last, last + timedelta(seconds=59))
    assert not runs(Schedule("x", missed=Missed.SKIP), last, last + timedelta(seconds=61))


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        return bool(_scrape(port))
    except OSError:
        return False


def _scrape(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def _runs_done(port: int) -> float | None:
    for family in text_string_to_metric_families(_scrape(port)):
        for sample in family.samples:
            if sample.name == "migrator_database_up" and sample.labels["database"] == "main":
                return float(sample.value)
    return None
