"""However a deployer ends, it leaves no temporary file and no process behind."""

from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from tests._servers import sql
from tests.faults import corpus
from tests.faults._pg import sleeps
from tests.faults.deployer import Deployer, run

ONCE = "if await ctx.value(\"SELECT to_regclass('released') IS NULL\"): await ctx.execute('SELECT pg_sleep(60)')"
MARK = "MIGRATOR_TEST_OF_WHAT_IS_LEFT"


def files(folder: Path) -> list[str]:
    """Return all that is in a folder, but for the logs of runs, which are kept on purpose."""
    paths = [path for path in folder.rglob("*") if not path.is_dir()]
    return sorted(str(path.relative_to(folder)) for path in paths if not path.match("logs/*.log"))


def processes(mark: str) -> list[str]:
    """Return the commands that run with this mark in their environment, which all children inherit."""
    every = [one.info for one in psutil.process_iter(["environ", "cmdline"])]
    return [" ".join(one["cmdline"] or []) for one in every if (one["environ"] or {}).get(MARK) == mark]


@pytest.mark.parametrize(("end", "code"), [("kill", -9), ("terminate", 130), ("fail", 1), ("finish", 0)])
def test_nothing_is_left_behind(folder: Path, tmp_path: Path, postgres_url: str, end: str, code: int) -> None:
    """Killed, stopped, failed or done: the project holds what it held, and the folder for temporary files nothing."""
    corpus.configure(folder, postgres_url)
    wrong = {"fail": ["raise RuntimeError('no')"]}
    corpus.revision(folder, "l1", None, [ONCE, *wrong.get(end, [])])
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = files(folder)
    env = {"TMPDIR": str(temporary), MARK: str(tmp_path)}
    if end in ("fail", "finish"):
        sql(postgres_url, "CREATE TABLE released ()")
        ended = run(folder, "upgrade", "head", env=env)
    else:
        with Deployer(folder, "upgrade", "head", env=env) as deployer:
            sleeps(postgres_url, deployer)
            getattr(deployer, end)()
            ended = deployer.wait(15)
    assert ended.code == code, ended
    assert (files(folder), files(temporary), processes(str(tmp_path))) == (before, [], [])
