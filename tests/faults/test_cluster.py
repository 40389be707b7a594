"""Slices on a Dask cluster write nothing once their command has ended, and what they say and raise arrives there."""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from migrator.config import load
from migrator.core.errors import ConnectionFailed, RunFailed
from migrator.runtime import cluster as on_cluster
from migrator.runtime.migrator import Migrator
from tests._servers import sql
from tests.acceptance._project import Project
from tests.faults.deployer import until

pytestmark = pytest.mark.filterwarnings("default")  # Dask's own, at its end
ROWS = 3000
BODY = """
import json, pathlib
knobs = json.loads(pathlib.Path({knobs!r}).read_text())
async for batch in ctx.batches("items", workers=3, max_rows=25):
    async with batch:
        ctx.log.info("at %s", batch.first)
        await ctx.execute("UPDATE items SET n = n + 1 WHERE id BETWEEN $1 AND $2", batch.first, batch.last)
        await ctx.execute("SELECT pg_sleep(0.05)")
        if batch.first <= knobs["broken"] <= batch.last:
            raise NameError("nobody wrote this")
"""
DONE = "SELECT count(*) FROM items WHERE n > 0"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Give a cluster whose workers are threads of this process."""
    with _cluster(3) as made:
        yield made


def _cluster(workers: int) -> AbstractContextManager[Any]:
    from distributed import LocalCluster

    made: AbstractContextManager[Any] = LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=50,
    )
    return made


@pytest.fixture
def project(tmp_path: Path, postgres_url: str) -> Iterator[Project]:
    """Give a project with a table of rows to change."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    made.configure(main=postgres_url)
    sql(postgres_url, "CREATE TABLE items (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, said text)")
    sql(postgres_url, f"INSERT INTO items SELECT i FROM generate_series(1, {ROWS}) AS i", "ANALYZE items")
    yield made
    made.close()


def change(project: Project, cluster: Any, *, broken: int = 0, before: str = "") -> None:
    """Write the change, and let its slices run on a cluster. At the row `broken` the script is wrong."""
    address = json.dumps(cluster.scheduler_address)
    text = f'[execution]\nengine = "dask"\naddress = {address}\n'
    project.toml.write_text(project.toml.read_text() + text, "utf-8")
    knobs = project.folder / "knobs.json"
    knobs.write_text(json.dumps({"broken": broken}), "utf-8")
    project.revision("main", "b2", upgrade=before + BODY.format(knobs=str(knobs)))


def done(project: Project) -> int:
    """Return how many rows are changed."""
    return int(sql(project.urls["main"], DONE)[0][0])


def begun(project: Project) -> bool:
    """Say whether every slice has done some rows."""
    url = project.urls["main"]
    if sql(url, "SELECT to_regclass('script_run_checkpoint')")[0][0] is None:
        return False
    rows = sql(url, "SELECT rows FROM script_run_checkpoint")
    return len(rows) == 3 and all(row[0] > 0 for row in rows)


SESSIONS = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'migrator:%'
"""


def idle(project: Project) -> None:
    """Wait until no slice is connected to the database any more."""
    until(lambda: sql(project.urls["main"], SESSIONS)[0][0] == 0, "the slices have ended")


def test_a_slice_that_fails(project: Project, cluster: Any) -> None:
    """When a slice fails the others write nothing after the command has ended; error and log arrive as they were."""
    change(project, cluster, broken=ROWS // 3 + 200)
    result = project.run("upgrade", "head")
    assert result.exit_code == 1, result
    at_the_end = done(project)
    assert "NameError: nobody wrote this" in result.stderr
    assert "b2.py:" in result.stderr, "the line of the script"
    run = project.good("runs", "--json").json()["runs"][0]["run_id"]
    assert "slice 1: at 1001" in project.good("logs", run).stdout
    project.good("resolve", run, "--mark-rolled-back", "--reason", "put back by hand")
    idle(project)
    assert 0 < at_the_end < ROWS
    assert done(project) == at_the_end


def test_a_stop(project: Project, cluster: Any) -> None:
    """After Ctrl-C no slice writes any more, and the next upgrade does the rest exactly once."""
    change(project, cluster)
    child = project.start("upgrade", "head")
    until(lambda: begun(project), "every slice has begun")
    child.send(signal.SIGINT)
    assert child.wait().exit_code == 130
    at_the_end = done(project)
    idle(project)
    assert done(project) == at_the_end
    project.good("upgrade", "head")
    assert [tuple(row) for row in sql(project.urls["main"], "SELECT n, count(*) FROM items GROUP BY n")] == [(1, ROWS)]


def test_a_scheduler_that_dies(project: Project) -> None:
    """The command ends with 4, and the workers that outlive their scheduler write nothing any more."""
    with _cluster(3) as cluster:
        change(project, cluster)
        child = project.start("upgrade", "head")
        until(lambda: begun(project), "every slice has begun")
        cluster.sync(cluster.scheduler.close)
        result = child.wait()
        at_the_end = done(project)
        assert result.exit_code == 4, result
        assert "the Dask scheduler" in result.stderr
        idle(project)
        assert 0 < at_the_end < ROWS
        assert done(project) == at_the_end


def test_another_text(project: Project, cluster: Any) -> None:
    """A worker that finds another text of the revision ends the command with 15, and its hint is the worker's."""
    path = project.revisions("main") / "b2.py"
    before = f"import pathlib\npathlib.Path({str(path)!r}).write_text(pathlib.Path({str(path)!r}).read_text() + '#')"
    change(project, cluster, before=before)
    result = project.run("upgrade", "head")
    assert result.exit_code == 15, result
    assert "Deploy the same release to the workers as here." in result.stderr
    assert "Correct the row" not in result.stderr
    assert done(project) == 0


def test_a_secret_parameter(project: Project, cluster: Any) -> None:
    """A secret reaches the slices as it is, and is shown nowhere."""
    change(project, cluster)
    (project.revisions("main") / "b2.py").unlink()
    text = """
        revision = "push"
        repeatable = True

        class Params:
            api_token: str
            days: int = 3

        async def upgrade(ctx):
            async for batch in ctx.batches("items", workers=2, max_rows=2000):
                async with batch:
                    ctx.log.warning("with %s", ctx.params.api_token)
                    words = f"{ctx.params.api_token} {ctx.params.days + 1}"
                    text = "UPDATE items SET said = $1 WHERE id BETWEEN $2 AND $3"
                    await ctx.execute(text, words, batch.first, batch.last)
    """
    header = '"""Push."""\nfrom dataclasses import dataclass\n'
    body = dedent(text).replace("class Params", "@dataclass\nclass Params")
    (project.revisions("main") / "push.py").write_text(header + body, "utf-8")
    result = project.good("run", "push", "--param", "api_token=hunter2-is-long", "--param", "days=6")
    assert [tuple(row) for row in sql(project.urls["main"], "SELECT DISTINCT said FROM items")] == [
        ("hunter2-is-long 7",)
    ]
    shown = project.good("runs", "--json").stdout
    assert "with ***" in result.text
    assert "hunter2" not in result.text + shown


async def test_no_worker(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster without a worker is named as the cause, after a while."""
    monkeypatch.setattr(on_cluster, "NOBODY", 1.5)
    with await asyncio.to_thread(_cluster, 0) as cluster:
        change(project, cluster)
        migrator = Migrator(load(str(project.toml), {}))
        with pytest.raises(RunFailed, match="has no worker") as raised:
            await migrator.upgrade("head")
    assert raised.value.exit_code == ConnectionFailed.exit_code
    assert done(project) == 0
