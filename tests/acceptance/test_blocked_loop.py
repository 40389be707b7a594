"""A script that blocks the event loop: its time limit and signals hold all the same."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from migrator import BlockingMigrator
from migrator.config import load
from migrator.core.errors import RunFailed
from migrator.runtime import watchdog
from tests.acceptance._look import relations, runs
from tests.acceptance._project import Project, until

TABLE = 'await ctx.execute("CREATE TABLE t (id int)")\n'
BLOCKS = {
    "sleep": "import time\ntime.sleep(60)",
    "loop": "while True: pass",
    "event": "import threading\nthreading.Event().wait(60)",
    "program": "import subprocess\nsubprocess.run(['sleep', '60'])",
    "except": "import time\nwhile True:\n    try: time.sleep(60)\n    except Exception: pass",
}
CHILD = "import asyncio, time\nasync def child(): time.sleep(60)\nawait asyncio.gather(child())"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the watchdog step in soon after the limit."""
    monkeypatch.setattr(watchdog, "SLACK", 0.2)
    monkeypatch.setattr(watchdog, "AGAIN", 0.2)


def failed(project: Project, target: str = "head") -> RunFailed:
    """Return the error of an upgrade that must fail."""
    with BlockingMigrator(load(str(project.toml))) as migrator, pytest.raises(RunFailed) as caught:
        migrator.upgrade(target)
    return caught.value


@pytest.mark.parametrize("body", BLOCKS.values(), ids=BLOCKS)
def test_an_interrupted_script(shop: Project, body: str) -> None:
    """It is interrupted where it blocks, rolled back, and reported with the line and what to do."""
    shop.revision("main", "a1", upgrade=TABLE + body, timeout="1s")
    error = failed(shop)
    assert "took longer than 1 s; revisions/a1.py:" in error.message
    assert "it blocked the event loop" in error.message
    assert "asyncio.to_thread" in error.hint
    assert (error.exit_code, error.failed.effect, error.failed.reason) == (1, "none", "timeout")
    assert relations(shop.urls["main"]) == set()


def test_a_task_of_the_script_blocks(shop: Project) -> None:
    """A task that the script has begun is interrupted as well; the same connection then does the next step."""
    shop.revision("main", "a1", upgrade=TABLE + CHILD, timeout="1s")
    with BlockingMigrator(load(str(shop.toml))) as migrator:
        with pytest.raises(RunFailed, match="took longer than 1 s"):
            migrator.upgrade("head")
        assert relations(shop.urls["main"]) == set()
        shop.revision("main", "a1", upgrade=TABLE)
        assert len(migrator.upgrade("head").runs) == 1


def test_longer_than_the_limit_is_never_ok(both: Project) -> None:
    """A script that blocks and returns after its limit fails, also in verify, and on both databases."""
    late = "import time\ntime.sleep(1.3)"
    for database in both.urls:
        for options in ({"upgrade": late}, {"upgrade": "pass", "verify": f"{late}\nreturn True"}):
            both.revision(database, "a1", timeout=1, **options)
            error = failed(both, f"{database}:head")
            assert "took longer than 1 s" in error.message
            assert error.failed.reason == "timeout"


def test_a_cancellation_that_is_swallowed(shop: Project) -> None:
    """A script that goes on after its limit, and leaves the loop free, is cancelled until it ends."""
    shop.revision(
        "main",
        "a1",
        timeout=1,
        upgrade="import asyncio\nfor _ in range(3):\n    try: await asyncio.sleep(60)\n"
        "    except asyncio.CancelledError: pass",
    )
    assert failed(shop).failed.reason == "timeout"


def test_in_a_thread(shop: Project) -> None:
    """The loop of a program's own thread is watched as well; a busy loop in it is interrupted."""
    shop.revision("main", "a1", upgrade=f"{TABLE}while True: pass", timeout="1s")
    found: list[Any] = []

    def program() -> None:
        found.append(failed(shop))

    thread = threading.Thread(target=program)
    thread.start()
    thread.join(60)
    assert "it blocked the event loop" in found[0].message


def test_what_else_has_a_limit(shop: Project) -> None:
    """A script with --timeout, a cleanup: what blocks is interrupted there, too; the process stays as it was."""
    before = signal.getsignal(signal.SIGURG)
    shop.revision("main", "s1", upgrade="while True: pass", repeatable=True)
    with BlockingMigrator(load(str(shop.toml))) as migrator:
        (result,) = migrator.run("s1", timeout=1.0).results
        assert "it blocked the event loop" in result.message
    assert signal.getsignal(signal.SIGURG) is before
    assert not any(each.name == "watchdog of scripts" for each in threading.enumerate() if not each.daemon)


SWALLOWS = """
import time
open("begun", "w").close()
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
"""


def test_what_cannot_be_interrupted(shop: Project, tmp_path: Path) -> None:
    """The process ends by itself with 1, an error, and a state that the next command settles."""
    shop.revision("main", "a1", upgrade=TABLE + SWALLOWS, timeout="1s")
    program = tmp_path / "program.py"
    program.write_text(
        "from migrator.__main__ import main\nfrom migrator.runtime import watchdog\n"
        "watchdog.SLACK = watchdog.AGAIN = 0.1\nmain()\n",
        "utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(program), "upgrade"],
        cwd=shop.folder,
        env=shop.environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done
    assert "cannot be interrupted" in done.stderr
    assert [run["status"] for run in runs(shop.urls["main"])] == ["pending"]
    shop.revision("main", "a1", upgrade=TABLE)
    shop.good("upgrade")


IN_C = "import hashlib\nhashlib.pbkdf2_hmac('sha256', b'', b'', 1_000_000_000)"


@pytest.mark.parametrize("body", [BLOCKS["sleep"], BLOCKS["loop"], IN_C], ids=["sleep", "loop", "c"])
def test_signals(shop: Project, body: str) -> None:
    """The second signal ends the process at once, also while code that is not Python blocks the main thread."""
    shop.revision("main", "a1", upgrade=f'{TABLE}open("begun", "w").close()\n{body}')
    child = shop.start("upgrade")
    until((shop.folder / "begun").exists, "the script has begun")
    child.send(signal.SIGTERM)
    time.sleep(0.3)  # two signals at the same moment are one
    child.send(signal.SIGINT)
    assert child.wait(20).exit_code == 130
