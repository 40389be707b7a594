"""The server's own event loop: no code of a revision runs on it, and acting for a person adds nothing to it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from migrator.runtime import lease
from migrator.runtime.questions import Questions
from tests.acceptance._project import Project, until
from tests.acceptance._receivers import answer, receiving
from tests.dashboard._api import Api
from tests.dashboard.conftest import Served

CODE_RUNS_IN = ("upgrade", "downgrade", "run", "verify", "resolve", "retry_failed", "stamp")
"""The commands that execute files of revisions."""


def blocks(began: Path, go: Path) -> str:
    """Return code that blocks its thread until a file is there."""
    return (
        f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\n"
        f"while not pathlib.Path({str(go)!r}).exists():\n    time.sleep(0.01)\n"
    )


def failed_run(project: Project, api: Api) -> str:
    """Make a run that waits for a decision, and return the address of its `resolve`."""
    assert project.run("upgrade").exit_code == 1
    (run,) = api.get("/scripts/runs", status="failed")["runs"]
    return f"/scripts/runs/{run['run_id']}/resolve"


def test_the_server_stays_awake(shop: Project, served: Served, client: httpx2.Client) -> None:
    """While the verify of a `resolve`, or the top level of a script's file, blocks its thread, the server answers."""
    began, go = shop.folder / "began", shop.folder / "go"
    verify = f"{blocks(began, go)}return True"
    upgrade = 'await ctx.execute("CREATE TABLE t ()")\nraise ValueError("no")'
    shop.revision("main", "a1", upgrade=upgrade, verify=verify, transaction=False)
    api = Api(client, served(shop))
    where = failed_run(shop, api)
    with ThreadPoolExecutor() as pool:
        decision = {"decision": "mark-success", "reason": "looked at it"}
        asked = pool.submit(httpx2.post, f"{api.url}{where}", json=decision, timeout=60)
        until(began.exists, "the verify has begun")
        assert api.get("/healthz") == {"status": "ok"}
        go.touch()
        entry = asked.result().json()
        assert (entry["word"], entry["result"]["recorded"]["user"]) == ("ok", "local")
        for each in (began, go):
            each.unlink()
        script = shop.revision("main", "greet", repeatable=True)
        script.write_text(script.read_text("utf-8") + blocks(began, go), "utf-8")
        shown = pool.submit(httpx2.get, f"{api.url}/api/revisions/main/greet", timeout=60)
        until(began.exists, "the file is executed")
        assert api.get("/healthz") == {"status": "ok"}
        go.touch()
        assert shown.result().status_code == 200


def test_by_construction() -> None:
    """What the server holds on its own loop has no method that executes files of revisions."""
    assert not [name for name in CODE_RUNS_IN if hasattr(Questions, name)]


def test_one_message_for_one_wait(
    shop: Project, served: Served, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each `resolve` that waits for the lock is told once, however many came before it."""
    monkeypatch.setattr(lease, "TELL", 0.05)
    shop.revision("main", "a1", upgrade='await ctx.execute("CREATE TABLE t ()")\n1 / 0', transaction=False)
    go = shop.folder / "go"
    shop.revision("main", "hold", upgrade=blocks(shop.folder / "began", go), repeatable=True, timeout="5m")
    with receiving(answer()) as receiver, ThreadPoolExecutor() as pool:
        table = {"kind": "webhook", "url": receiver.url, "on": ["lock_wait"], "lock_wait_after": "100ms"}
        toml = "\n".join(["[notify.chat]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())])
        api = Api(client, served(shop, toml))
        where = failed_run(shop, api)
        for expected in (1, 2, 3):
            (shop.folder / "began").unlink(missing_ok=True)
            go.unlink(missing_ok=True)
            holder = shop.start("run", "hold", "--force")
            until((shop.folder / "began").exists, "the lock is held")
            body = {"decision": "retry", "reason": "again"}
            asked = pool.submit(httpx2.post, f"{api.url}{where}", json=body, timeout=60)
            until(lambda at=expected: len(receiver.posts) >= at, "the wait is told")  # type: ignore[misc]
            go.touch()
            assert holder.wait().exit_code == 0
            assert asked.result().status_code == (200 if expected == 1 else 404)  # it was decided the first time
            assert receiver.kinds() == ["lock_wait"] * expected
