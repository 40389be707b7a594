"""A long change in slices that run side by side, here and on a Dask cluster: every row exactly once, whoever dies."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migrator.core.errors import Drifted
from migrator.core.run import Run
from migrator.runtime.cluster import slice_of_a_run
from migrator.runtime.params import Params
from tests._servers import sql
from tests.acceptance._project import Project
from tests.faults.deployer import until

ROWS = 6000
SLOW = "SELECT pg_sleep(0.02)"
BROKEN = "SELECT 1/0"
BODY = """
import json, pathlib
knobs = json.loads(pathlib.Path({knobs!r}).read_text())
async for batch in ctx.batches("items", workers=knobs["workers"], max_rows=50):
    async with batch:
        await ctx.execute("UPDATE items SET n = n + 1 WHERE id BETWEEN $1 AND $2", batch.first, batch.last)
        await ctx.execute(knobs["more"])
"""
SLICES = "SELECT slice, rows, cursor::text, high::text, done FROM script_run_checkpoint ORDER BY slice"


@pytest.fixture
def project(tmp_path: Path, postgres_url: str) -> Iterator[Project]:
    """Give a project with a table of rows to change."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    made.configure(main=postgres_url)
    made.revision("main", "a1", upgrade='await ctx.execute("CREATE TABLE evidence (n int)")')
    made.good("upgrade")
    sql(postgres_url, "CREATE TABLE items (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)")
    sql(postgres_url, f"INSERT INTO items SELECT 3 * i FROM generate_series(1, {ROWS}) AS i", "ANALYZE items")
    yield made
    made.close()


def change(project: Project, *, workers: int = 3, more: str = "SELECT 1", before: str = "") -> None:
    """Write the revision that adds one to every row, and what it reads from a file, so that its text stays the same."""
    knobs = project.folder / "knobs.json"
    knobs.write_text(json.dumps({"workers": workers, "more": more}), "utf-8")
    project.revision("main", "b2", "a1", upgrade=before + BODY.format(knobs=str(knobs)))


def counts(project: Project) -> list[tuple[int, int]]:
    """Return how often rows were changed, and how many of them."""
    return [tuple(row) for row in sql(project.urls["main"], "SELECT n, count(*) FROM items GROUP BY n ORDER BY n")]


def some_done(project: Project) -> bool:
    """Say whether every slice has come a part of its way."""
    rows = sql(project.urls["main"], "SELECT rows FROM script_run_checkpoint")
    return len(rows) > 1 and all(row[0] > 0 for row in rows)


def test_killed_and_continued(project: Project) -> None:
    """After kill -9 in the middle, the next upgrade goes on in the same slices, also with other workers."""
    change(project, more=SLOW)
    child = project.start("upgrade", "head")
    until(lambda: some_done(project), "every slice has begun")
    child.send(signal.SIGKILL)
    child.wait()
    assert counts(project) != [(1, ROWS)]
    before = sql(project.urls["main"], SLICES)
    change(project, workers=2)
    project.good("upgrade", "head")
    assert counts(project) == [(1, ROWS)]
    after = sql(project.urls["main"], SLICES)
    assert [row["high"] for row in after] == [row["high"] for row in before]
    assert all(row["done"] for row in after)
    report = project.good("runs", "--script", "b2", "--limit", "1", "--json").json()["runs"][0]["progress"]["loops"][0]
    assert (report["rows"], report["done"]) == (ROWS, True)


def test_slices_that_were_not_all_written(project: Project) -> None:
    """Where a crash left out the first slices, what they would have held is one slice, and nothing is missed."""
    change(project, workers=4, more=BROKEN)
    assert project.run("upgrade", "head").exit_code == 1
    killed = "UPDATE script_run_tracker SET effect = 'partial' WHERE revision = 'b2'"  # as its settling would say
    sql(project.urls["main"], killed, "DELETE FROM script_run_checkpoint WHERE slice < 2")
    change(project, workers=4)
    project.good("upgrade", "head")
    assert counts(project) == [(1, ROWS)]
    assert [row["slice"] for row in sql(project.urls["main"], SLICES)] == [0, 2, 3]


def test_a_write_outside(project: Project) -> None:
    """The function runs once in each slice, so the server refuses what it writes outside of the batches."""
    change(project, before='await ctx.execute("INSERT INTO evidence VALUES (1)")')
    result = project.run("upgrade", "head")
    assert result.exit_code != 0
    assert "read-only" in result.stderr
    assert sql(project.urls["main"], "SELECT count(*) FROM evidence")[0][0] == 1, "once, by the step itself"
    assert counts(project) == [(0, ROWS)]


def test_more_slices_than_the_pool_has_connections(project: Project) -> None:
    """Slices do not wait for a connection that another of them has: the pool makes room for them."""
    text = project.toml.read_text().replace("[databases.main]", '[databases.main]\npool = 2\nconnect_timeout = "1s"')
    project.toml.write_text(text, "utf-8")
    change(project, workers=4, more=SLOW)
    project.good("upgrade", "head")
    assert counts(project) == [(1, ROWS)]


def test_one_slice_fails(project: Project) -> None:
    """A row that cannot be changed stops all slices, is told by its key, and the rest goes on after the correction."""
    sql(project.urls["main"], f"ALTER TABLE items ADD CHECK (id <> {ROWS} OR n = 0)")
    change(project)
    result = project.run("upgrade", "head")
    assert result.exit_code == 1
    assert f"the row {ROWS} cannot be changed" in result.stderr
    sql(project.urls["main"], "ALTER TABLE items DROP CONSTRAINT items_check")
    project.good("upgrade", "head")
    assert counts(project) == [(1, ROWS)]


@pytest.fixture
def cluster(project: Project) -> Iterator[Any]:
    """Give a cluster of two processes, and let the project use it."""
    from distributed import LocalCluster

    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50
    ) as made:
        address = json.dumps(made.scheduler_address)
        text = f'[execution]\nengine = "dask"\naddress = {address}\n'
        project.toml.write_text(project.toml.read_text() + text, "utf-8")
        yield made


@pytest.mark.filterwarnings("default")  # Dask's own, at its end
def test_on_a_cluster_whose_workers_die(project: Project, cluster: Any) -> None:
    """Slices run in the workers of a cluster; one that is killed loses nothing, and nothing is done twice."""
    change(project, more=SLOW)
    child = project.start("upgrade", "head")
    until(lambda: len([row for row in sql(project.urls["main"], SLICES) if row["rows"]]) > 1, "two slices have begun")
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    ended = child.wait(120)
    assert ended.exit_code == 0, ended
    assert counts(project) == [(1, ROWS)]


def test_workers_with_another_text(project: Project) -> None:
    """A worker whose checkout has another text of the revision refuses it, by its checksum."""
    change(project)
    run = Run(run_id="r1", database="main", revision="b2", checksum="of another text", cursor={"origin": "r1"})
    with pytest.raises(Drifted, match="another text"):
        slice_of_a_run(str(project.toml), run.as_dict(), Params(), "items", 0, 2)
    assert counts(project) == [(0, ROWS)]


def test_no_cluster(project: Project) -> None:
    """A scheduler that does not answer ends the command with 4, and nothing is changed."""
    text = '[execution]\nengine = "dask"\naddress = "tcp://127.0.0.1:1"\n'
    project.toml.write_text(project.toml.read_text() + text, "utf-8")
    change(project)
    result = project.run("upgrade", "head")
    assert result.exit_code == 4, result
    assert "[execution]" in result.stderr
    assert counts(project) == [(0, ROWS)]
