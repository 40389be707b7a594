"""`migrator cleanup`: what is kept, what goes, in what order, on a past of a hundred thousand runs."""

import gzip
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests._servers import sql
from tests.acceptance._look import documents, runs
from tests.acceptance._project import Project, until

DAY = 86_400


def aged(project: Project, days: float, where: str = "true") -> None:
    """Let runs have begun and ended so many days earlier."""
    text = f"started_at = started_at - interval '{days} days', finished_at = finished_at - interval '{days} days'"
    sql(project.urls["main"], f"UPDATE script_run_tracker SET {text} WHERE {where}")


def rules(project: Project, **values: int) -> None:
    """Write [retention]; whatever is not named keeps everything."""
    given = {"keep_last": 0, "keep_days": 30, "log_days": 14, "failed_days": 90, "max_bytes": 0, **values}
    text = project.toml.read_text().partition("\n[retention]")[0]
    lines = "\n".join(f"{name} = {value}" for name, value in given.items())
    project.toml.write_text(f"{text}\n[retention]\n{lines}\n")


def log_files(project: Project) -> set[str]:
    """Return the scripts whose logs are in the folder."""
    return {path.name.partition("-")[0] for path in (project.folder / "logs").glob("*-*.log")}


@pytest.fixture
def old(shop: Project) -> Project:
    """Give a project whose past is 200 days old: a1 applied, b2 taken down and up again, c3 failed and not mended."""
    shop.tables("main", "a1", "b2")
    shop.good("upgrade")
    shop.good("downgrade", "-1")
    shop.good("upgrade")
    shop.revision("main", "c3", "b2", upgrade='await ctx.execute("CREATE TABLE t (n int)")\n1/0', transaction=False)
    assert shop.run("upgrade").exit_code == 1
    aged(shop, 200)
    rules(shop)
    return shop


def test_what_goes_and_what_stays(old: Project) -> None:
    """The superseded runs of b2 go with their logs; the live ones stay, and so does the log of the open failure."""
    ghost = old.folder / "logs" / "gone-20260101T000000Z-1abc.log"
    for path, age in ((ghost, 15), (ghost.with_name("young-20260101T000000Z-2abc.log"), 13)):
        path.write_text("of a run that no tracker knows")
        os.utime(path, (time.time() - age * DAY,) * 2)
    mine = old.folder / "logs" / "notes-of-mine.txt"
    mine.write_text("not a log")
    before = old.states()
    result = old.run("cleanup", "--dry-run", "--json")
    assert result.exit_code == 10
    planned = result.json()
    assert (len(runs(old.urls["main"])), len(list((old.folder / "logs").iterdir()))) == (5, 8)
    done = old.good("cleanup", "--json").json()
    assert {**done, "seconds": 0, "dry_run": True} == {**planned, "seconds": 0}
    assert done["runs"] == {"main": 2}
    assert done["files"] == 5
    assert done["bytes"] > 500
    assert done["errors"] == []
    assert [(run["revision"], run["status"]) for run in runs(old.urls["main"])] == [
        ("a1", "success"),
        ("b2", "success"),
        ("c3", "failed"),
    ]
    assert log_files(old) == {"c3", "young"}
    assert mine.exists()
    assert old.states() == before
    said = old.good("logs", runs(old.urls["main"], "revision = 'a1'")[0]["run_id"]).stdout
    assert "is not there (any more)" in said
    text = (old.folder / "logs" / "cleanup.log").read_text()
    assert "[INFO] [cleanup] begins: Retention(keep_days=30" in text
    assert "2 runs and 5 log files deleted" in text
    assert old.good("cleanup", "--json").json()["files"] == 0
    assert "2 runs and 5 log files deleted" in (old.folder / "logs" / "cleanup.log").read_text()


def test_days_and_their_sources(old: Project) -> None:
    """keep_days, RETENTION_DAYS and --days decide, the last of them first; keep_last keeps what they do not."""

    def counted(*args: str, **env: str) -> int:
        found: int = old.run("cleanup", "--dry-run", "--json", *args, env=env).json()["runs"]["main"]
        return found

    rules(old, keep_days=300)
    assert counted() == 0
    assert counted(RETENTION_DAYS="100") == 2
    assert counted("--days", "250", RETENTION_DAYS="100") == 0
    rules(old, keep_days=300, keep_last=2)
    assert counted("--days", "0") == 1
    result = old.run("cleanup", env={"DRY_RUN": "1"})
    assert result.exit_code == 10
    assert len(runs(old.urls["main"])) == 5
    for env, key in (({"RETENTION_DAYS": "-1"}, "RETENTION_DAYS"), ({"RETENTION_DAYS": "x"}, "RETENTION_DAYS")):
        result = old.run("cleanup", env=env)
        assert result.exit_code == 3
        assert key in result.stderr
    rules(old, log_days=-1)
    assert "retention.log_days is -1" in old.run("cleanup").stderr


def test_failures_are_kept_longer(old: Project) -> None:
    """A failure that was mended stays for failed_days, with its log; after that it goes."""
    old.table("main", "c3", "b2")
    run_id = runs(old.urls["main"], "revision = 'c3'")[0]["run_id"]
    old.good("resolve", run_id, "--mark-rolled-back", "--reason", "looked at it")
    old.good("upgrade")
    rules(old, failed_days=365)
    assert old.good("cleanup", "--json").json()["runs"] == {"main": 2}
    assert "c3" in log_files(old)
    rules(old)
    assert old.good("cleanup", "--json").json()["runs"] == {"main": 1}
    assert runs(old.urls["main"], f"run_id = '{run_id}'") == []


def test_too_many_bytes(old: Project) -> None:
    """The oldest logs go until the rest fits into max_bytes; that of the open failure stays, whatever its size."""
    folder = old.folder / "logs"
    paths = sorted(folder.glob("*.log"))
    for number, path in enumerate(paths):
        os.utime(path, (time.time() - (100 - number),) * 2)
    (failed,) = folder.glob("c3-*.log")
    os.utime(failed, (0, 0))
    aged(old, -200)
    keep = sum(path.stat().st_size for path in (failed, paths[-2]))
    assert paths[-1] == failed
    rules(old, max_bytes=keep)
    old.good("cleanup")
    assert set(folder.glob("*-*.log")) == {failed, paths[-2]}
    rules(old, max_bytes=1)
    old.good("cleanup")
    assert set(folder.glob("*-*.log")) == {failed}
    assert len(runs(old.urls["main"])) == 5


def test_what_cannot_be_deleted(old: Project) -> None:
    """A log that cannot go is an error and keeps its run; a name that is none of ours is an error and nothing more."""
    victim = old.folder / "victim.log"
    victim.write_text("mine")
    down, up = runs(old.urls["main"], "superseded_by <> ''")
    path = old.folder / "logs" / down["log_file"]
    path.unlink()
    path.mkdir()
    sql(old.urls["main"], f"UPDATE script_run_tracker SET log_file = '../victim.log' WHERE run_id = '{up['run_id']}'")
    result = old.run("cleanup", "--json")
    assert result.exit_code == 1
    errors = result.json()["errors"]
    assert len(errors) == 2
    assert "'../victim.log'" in " ".join(errors)
    assert "Is a directory" in " ".join(errors)
    assert victim.read_text() == "mine"
    left = {run["run_id"] for run in runs(old.urls["main"])}
    assert down["run_id"] in left
    assert up["run_id"] not in left
    path.rmdir()
    path.symlink_to(victim)
    old.good("cleanup")
    assert victim.read_text() == "mine"
    assert not path.is_symlink()
    assert down["run_id"] not in {run["run_id"] for run in runs(old.urls["main"])}


def test_one_database_of_two(both: Project) -> None:
    """With -d only the runs of that database go; what belongs to no run is left to a clean-up of all."""
    both.collection("events", "e1")
    both.good("upgrade")
    both.good("downgrade", "events:-1")
    ghost = both.folder / "logs" / "gone-20260101T000000Z-1abc.log"
    ghost.write_text("x")
    os.utime(ghost, (0, 0))
    rules(both, keep_days=0, log_days=0)
    assert both.good("cleanup", "-d", "main", "--json").json()["runs"] == {"main": 0}
    assert ghost.exists()
    done = both.good("cleanup", "--json").json()
    assert done["runs"] == {"events": 1, "main": 0}
    assert len(documents(both.urls["events"], "script_run_tracker")) == 1
    assert not ghost.exists()
    assert sql(both.urls["main"], "SELECT to_regclass('script_run_tracker')")[0][0] is not None


MANY, FILES = 100_000, 5_000
"""Runs of 500 scripts, one every five minutes, and the logs of the newest of them."""

ROWS = """
INSERT INTO script_run_tracker (run_id, revision, title, kind, direction, status, effect, source, started_at,
                                finished_at, duration_ms, log_file, host, "user", fence, superseded_by)
SELECT '0' || lpad(n::text, 12, '0'), 's' || n % 500, 'Title', 'revision', 'upgrade',
       CASE WHEN n % 100 = 7 THEN 'failed' ELSE 'success' END, CASE WHEN n % 100 = 7 THEN 'none' ELSE 'full' END,
       repeat('SELECT 1; ', 50), now() - (100000 - n) * interval '5 minutes',
       now() - (100000 - n) * interval '5 minutes', n % 1000,
       's' || n % 500 || '-20260101T000000Z-0' || lpad(n::text, 12, '0') || '.log', 'pod', 'ann', 1,
       CASE WHEN n <= 500 THEN '' ELSE 'later' END
  FROM generate_series(1, 100000) AS n
"""
"""The oldest run of every script is live: the successes of 495, and five unresolved failures."""


def test_a_hundred_thousand_runs(shop: Project) -> None:
    """What is to go goes, what is protected stays, memory stays flat, and a second clean-up hears who is at it."""
    shop.good("stamp", "base")
    rules(shop)
    small = _peak(shop)
    shop.table("main", "a1")
    shop.good("upgrade")
    sql(shop.urls["main"], ROWS)
    folder = shop.folder / "logs"
    for number in range(MANY - 2 * FILES, MANY, 2):
        name = f"s{number % 500}-20260101T000000Z-0{number:012d}.log"
        (folder / name).write_text("a line\n" * 10)
        if number % 10 == 0:
            (folder / f"{name}.1.gz").write_bytes(gzip.compress(b"older lines"))
    child, log = shop.start("cleanup", "--days", "35", "--json"), folder / "cleanup.log"
    until(lambda: log.read_text().count(" runs, 0") > 10, "the clean-up is at work")
    second = shop.run("cleanup")
    assert second.exit_code == 12
    assert re.search(rf"cleanup of main is being done by .* pid {child.pid} since 20", second.stderr)
    done = child.wait().json()
    left = sql(
        shop.urls["main"],
        "SELECT run_id, status, superseded_by, finished_at < now() - interval '35 days' AS old FROM script_run_tracker",
    )
    assert [row["run_id"] for row in left if row["old"] and row["superseded_by"] and row["status"] != "failed"] == []
    assert sum(row["old"] and not row["superseded_by"] for row in left) == 500
    young = sum(not row["old"] for row in left) - 1
    assert abs(young - 35 * 24 * 12) < 60
    failures = sum(row["status"] == "failed" and bool(row["superseded_by"]) for row in left)
    assert abs(failures - 90 * 24 * 12 // 100) < 3
    assert done["runs"] == {"main": MANY + 1 - len(left)}
    assert done["errors"] == []
    assert max(int(found) for found in re.findall(r"main: (\d+) runs?,", log.read_text())) == 100
    kept = {path.name.partition(".")[0][-13:] for path in folder.glob("s*")}
    assert {f"0{number:012d}" for number in range(MANY - 14 * 24 * 12 + 60, MANY, 2)} <= kept
    assert not {f"0{number:012d}" for number in range(MANY - 2 * FILES, MANY - 14 * 24 * 12 - 60, 2)} & kept
    assert _peak(shop, "--days", "0") < small + 32_000


def test_ten_thousand_runs_on_mongodb(project: Project, mongo_url: str) -> None:
    """The same rules on MongoDB: what is live and what is young stays, failures longer."""
    import pymongo

    project.configure(events=mongo_url)
    project.good("stamp", "base")
    rules(project, keep_days=30, failed_days=60)
    now, client = datetime.now(UTC), pymongo.MongoClient[dict[str, Any]](mongo_url)
    with client:
        client.get_default_database().script_run_tracker.insert_many(
            {
                "_id": f"0{number:012d}",
                "seq": number,
                "revision": f"s{number % 50}",
                "kind": "revision",
                "direction": "upgrade",
                "status": "failed" if number % 10 == 7 else "success",
                "effect": "none" if number % 10 == 7 else "full",
                "started_at": now - timedelta(minutes=15 * (10_000 - number)),
                "finished_at": now - timedelta(minutes=15 * (10_000 - number)),
                "fence": 1,
                "superseded_by": "" if number <= 50 else "later",
            }
            for number in range(1, 10_001)
        )
    done = project.good("cleanup", "--json").json()
    left = documents(mongo_url, "script_run_tracker")
    assert done["runs"] == {"events": 10_000 - len(left)}
    kept = {row["_id"] for row in left if row["superseded_by"]}
    assert len(left) - len(kept) == 50
    limits = {"success": 30, "failed": 60}
    expected = sum(
        number > 50 and (10_000 - number) * 15 < limits["failed" if number % 10 == 7 else "success"] * 24 * 60
        for number in range(1, 10_001)
    )
    assert abs(len(kept) - expected) < 5
    assert project.good("runs", "--json", "--limit", "1").json()["runs"][0]["run_id"] == "0000000010000"


def _peak(project: Project, *args: str) -> int:
    """Clean up in a process of its own and return the most memory that it had, in kilobytes."""
    script = (
        "import resource, sys\nfrom migrator.cli import main\nsys.argv = ['migrator', 'cleanup', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        cwd=project.folder,
        env=project.environ(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return int(done.stdout.rpartition("peak ")[2])
