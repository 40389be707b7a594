"""`migrator runs`, and what stands behind it: every run is found, shown in full, and deleted only where it may be."""

import os
import pty
import signal
import subprocess
from typing import Any

import pytest

from tests._servers import sql
from tests.acceptance._look import runs
from tests.acceptance._project import LIMIT, Project, until


def listed(project: Project, *args: str) -> list[dict[str, Any]]:
    """Return what `migrator runs` says to a program."""
    found: list[dict[str, Any]] = project.good("runs", "--json", *args).json()["runs"]
    return found


def names(project: Project, *args: str) -> list[str]:
    """Return the revisions of the runs, in order, without a zero that only pads."""
    return [run["revision"] for run in listed(project, *args)]


@pytest.fixture
def busy(both: Project) -> Project:
    """Give a project with a past in both databases: applied, taken down, failed and tried again."""
    both.tables("main", "a1", "b2", "c3")
    both.collection("events", "e1")
    both.good("upgrade")
    both.good("downgrade", "main:b2-1")
    both.revision("main", "d4", "c3", upgrade='await ctx.execute("SELECT nothing")')
    assert both.run("upgrade", "main:head").exit_code == 1
    both.table("main", "d4", "c3")
    both.good("upgrade")
    return both


def test_every_run_is_listed_newest_first(busy: Project) -> None:
    """Runs of both databases come in one list, superseded ones too, for a person and for a program."""
    order = names(busy)
    assert order[:4] == ["d4", "d4", "c3", "b2"]
    assert len(order) == len(runs(busy.urls["main"])) + 1
    said = busy.good("runs").stdout
    assert "main:d4" in said
    assert "events:e1" in said
    assert "revisions/main/d4.py" in said
    assert "source" not in listed(busy)[0]


FILTERS = {
    "--status failed": "d4",
    "--status rolled_back": "c3 b2",
    "--script d": "d4 d4",
    "-d events": "e1",
    "--direction downgrade": "b2 c3",
    "--since 1h --script a1": "a1",
    "--until 2026-01-01": "",
    "--since 2999-01-01T10:00": "",
    "--user nobody": "",
    "--status interrupted --status running": "",
}


def test_filters_and_pages(busy: Project) -> None:
    """Each filter leaves exactly the runs that are so; --limit and --after lead through all of them, each once."""
    assert {args: " ".join(names(busy, *args.split())) for args in FILTERS} == FILTERS
    whole, parts, after = [run["run_id"] for run in listed(busy)], [], ""
    while True:
        page = busy.good("runs", "--json", "--limit", "4", "--after", after).json()
        parts += [run["run_id"] for run in page["runs"]]
        after = page["after"]
        if not after:
            break
    assert parts == whole
    assert f"--after {whole[1]}" in busy.good("runs", "--limit", "2").stdout


def test_one_run_in_full(busy: Project) -> None:
    """`runs show` takes the beginning of an id and shows all there is; a mistyped id is answered with the nearest."""
    failed = listed(busy, "--status", "failed")[0]
    others = [run["run_id"] for run in listed(busy) if run["run_id"] != failed["run_id"]]
    short = next(
        text
        for text in (failed["run_id"][:count] for count in range(14))
        if not any(each.startswith(text) for each in others)
    )
    said = busy.good("runs", "show", short).stdout
    for part in (failed["run_id"], "main:d4", "failed, effect none", "SELECT nothing", failed["deploy_id"]):
        assert part in said, part
    document = busy.good("runs", "show", failed["run_id"], "--json").json()
    assert 'ctx.execute("SELECT nothing")' in document["source"]
    assert document["standing"] == "failed"
    right = failed["run_id"]
    result = busy.run("runs", "show", right[:-1] + "u")
    assert result.exit_code == 3
    assert "Did you mean" in result.stderr
    result = busy.run("runs", "show", right[:3], "--json")
    assert result.error()["type"] == "AmbiguousTarget"
    assert result.error()["hint"] == "Write more of the id."


def test_a_running_and_an_interrupted_run(shop: Project) -> None:
    """While its process lives a run is running; killed, it is interrupted, until the next command settles it."""
    shop.revision("main", "a1", upgrade="import asyncio\nawait asyncio.sleep(60)", transaction=False)
    child = shop.start("upgrade")
    until(lambda: listed(shop), "the run has begun")
    assert [run["standing"] for run in listed(shop)] == ["running"]
    assert names(shop, "--status", "running") == names(shop, "--status", "pending") == ["a1"]
    assert names(shop, "--status", "interrupted") == []
    run_id = listed(shop)[0]["run_id"]
    assert shop.run("runs", "delete", run_id, "--yes").exit_code == 3
    child.send(signal.SIGKILL)
    until(lambda: [run["standing"] for run in listed(shop)] == ["interrupted"], "the lock is free")
    assert names(shop, "--status", "interrupted") == ["a1"]
    assert "interrupted, effect unknown" in shop.good("runs", "show", run_id).stdout


def test_delete(busy: Project) -> None:
    """A superseded run goes after a yes, asked for at a terminal; none goes without, nor with a live one."""
    gone, kept = listed(busy, "--status", "failed")[0]["run_id"], listed(busy, "-d", "events")[0]["run_id"]
    result = busy.run("runs", "delete", gone)
    assert result.exit_code == 3
    assert "--yes" in result.stderr
    result = busy.run("runs", "delete", gone, kept, "--yes", "--json")
    assert result.error()["type"] == "PlanRefused"
    assert kept in result.error()["message"]
    before = listed(busy)
    for answer, code in ((b"n\n", 130), (None, 130)):
        assert _answered(busy, gone, answer) == code
        assert listed(busy) == before
    assert _answered(busy, gone, b"y\n") == 0
    assert listed(busy) == [run for run in before if run["run_id"] != gone]
    other = listed(busy, "--status", "rolled_back")[0]["run_id"]
    assert busy.good("runs", "delete", other, "--yes", "--json").json() == {"deleted": 1, "runs": [other]}


def _answered(project: Project, run_id: str, answer: bytes | None) -> int:
    """Delete a run at a terminal, where the question is answered so (None: by Ctrl-C); return the exit code."""
    ours, theirs = pty.openpty()
    command = project.command("runs", "delete", run_id)
    with subprocess.Popen(
        command, cwd=project.folder, env=project.environ(), stdin=theirs, stdout=theirs, stderr=theirs
    ) as child:
        os.close(theirs)
        said = b""
        while b"Go on?" not in said:
            said += os.read(ours, 4096)
        assert run_id in said.decode()
        if answer is None:
            child.send_signal(signal.SIGINT)
        else:
            os.write(ours, answer)
        code = child.wait(LIMIT)
    os.close(ours)
    return code


def test_an_option_before_the_subcommand_is_not_lost(shop: Project) -> None:
    """What would be ignored is refused, with the place where it belongs."""
    result = shop.run("runs", "-d", "main", "show", "01")
    assert result.exit_code == 3
    assert "belongs behind" in result.stderr


def test_without_a_tracker(both: Project) -> None:
    """On empty databases there are no runs, and asking creates nothing."""
    assert "no such runs" in both.good("runs").stdout
    assert sql(both.urls["main"], "SELECT to_regclass('script_run_tracker')")[0][0] is None
