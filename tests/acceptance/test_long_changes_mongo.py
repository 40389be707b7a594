"""Long changes on MongoDB, where they differ: killed, paused from another terminal, and beside one on PostgreSQL."""

import signal
from typing import Any

import pytest

from tests.acceptance._long import SLOW, change, loops
from tests.acceptance._look import documents
from tests.acceptance._project import Child, Project, until

ROWS = 600

MAKE = f'await ctx.db["rows"].insert_many([{{"_id": i, "n": 0, "d": 1}} for i in range(1, {ROWS + 1})])'
ONE_MORE = """
    import os
    pace = float(os.environ.get("PACE", 0))
    async for batch in ctx.batches("rows", max_rows=25, max_rows_per_second=pace, on_error="skip"):
        async with batch:
            await ctx.db["rows"].update_many(batch.where, [{"$set": {"n": {"$add": ["$n", {"$divide": [1, "$d"]}]}}}])
"""


@pytest.fixture
def events(project: Project, mongo_url: str) -> Project:
    """Give a project on MongoDB whose second revision is a long change."""
    project.configure(events=mongo_url)
    return long_change(project)


def long_change(project: Project) -> Project:
    """Write revision e1, which makes the collection `rows`, and e2, which adds 1 to each of its documents."""
    project.revision("events", "e1", upgrade=MAKE, downgrade='await ctx.db["rows"].drop()')
    project.revision("events", "e2", "e1", upgrade=ONE_MORE)
    return project


def checkpoint(project: Project) -> dict[str, Any]:
    """Return the one checkpoint, {} where there is none."""
    found = documents(project.urls["events"], "script_run_checkpoint")
    return found[0] if found else {}


def in_the_middle(project: Project) -> Child:
    """Start a slow upgrade, and return when some of its batches are done."""
    child = project.start("upgrade", "head", "-d", "events", env=SLOW)
    until(lambda: checkpoint(project).get("batches", 0) >= 2 or not child.runs(), "some batches are done")
    assert child.runs(), child.wait()
    return child


def once(project: Project) -> bool:
    """Say whether every document was changed exactly once."""
    return [row["n"] for row in documents(project.urls["events"], "rows")] == [1] * ROWS


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_end_in_the_middle(events: Project, number: signal.Signals) -> None:
    """Whatever ends it in the middle, the next upgrade goes on, and every document is changed exactly once."""
    child = in_the_middle(events)
    child.send(number)
    result = child.wait()
    done = checkpoint(events)["rows"]
    assert number is signal.SIGKILL or f"Done and kept: {done} of about {ROWS} rows" in result.stderr
    again = events.good("upgrade", "head", "--json").json()["runs"]
    assert (loops(again[-1])["before"], loops(again[-1])["rows"]) == (done, ROWS)
    assert once(events)


def test_control(events: Project) -> None:
    """Pause, tune, resume and cancel from another terminal hold within one batch, as on PostgreSQL."""
    child = in_the_middle(events)
    events.good("pause", "--reason", "peak hour")
    until(lambda: checkpoint(events)["waiting"].startswith("paused: by"), "it stands still")
    told = change(events, "events")
    assert (told["standing"], told["control"]["reason"]) == ("paused", "peak hour")
    assert told["waiting"] in events.good("status").stdout
    events.good("tune", "max_rows=7")
    events.good("resume")
    until(lambda: checkpoint(events)["size"] <= 7, "batches are small")
    events.good("cancel", "--reason", "too slow")
    assert child.wait().exit_code == 14
    refused = events.run("upgrade", "head")
    assert (refused.exit_code, "too slow" in refused.stderr) == (14, True), refused
    events.good("resume")
    events.good("upgrade", "head")
    assert once(events)


def test_failed_rows_are_run_again(events: Project) -> None:
    """Documents that were passed over are run again, each exactly once; one that is gone is forgotten."""
    events.good("upgrade", "+1")
    events.revision("events", "e2", "e1", upgrade=ONE_MORE)
    spoil(events, [3, 300, 301], 0)
    run = events.good("upgrade", "head", "--json").json()["runs"][-1]["run_id"]
    assert "rows 300: " in events.good("runs", "show", run).stdout
    spoil(events, [3, 301], 1)
    assert events.run("runs", "retry-failed", run).exit_code == 1
    (left,) = documents(events.urls["events"], "script_run_failures")
    assert left["key"] == [300]
    spoil(events, [300], 1)
    events.good("runs", "retry-failed", run)
    assert once(events)
    assert documents(events.urls["events"], "script_run_failures") == []


def spoil(project: Project, ids: list[int], divisor: int) -> None:
    """Let these documents fail, or mend them."""
    import pymongo

    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(project.urls["events"]) as client:
        client.get_default_database()["rows"].update_many({"_id": {"$in": ids}}, {"$set": {"d": divisor}})


def test_two_databases(both: Project) -> None:
    """With a long change at work in each database, a command without a run is refused with the exact commands."""
    from tests.acceptance import _long

    long_change(both)
    _long.long_change(both)
    with _long.in_the_middle(both, "-d", "main") as first:
        both.good("pause", "-d", "main")
        second = in_the_middle(both)
        both.good("pause", "-d", "events")
        told = [change(both, name) for name in ("main", "events")]
        assert [each["standing"] for each in told] == ["paused", "paused"]
        error = both.run("resume", "--json").error()
        assert (error["type"], error["exit_code"]) == ("AmbiguousTarget", 3)
        assert "main:a2 (Title of a2), events:e2 (Title of e2)" in error["message"]
        one, other = (each["run_id"] for each in told)
        assert error["hint"] == f"Say which: `migrator resume {one}` or `migrator resume {other}`"
        both.good("cancel", one, "--reason", "seen")
        both.good("cancel", "-d", "events", "--reason", "seen")
        assert [first.wait().exit_code, second.wait().exit_code] == [14, 14]
