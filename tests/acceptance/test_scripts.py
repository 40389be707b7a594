"""Scripts beside the ordered history: when they run, in which order, with which parameters, and what surrounds them."""

import json
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from migrator import BlockingMigrator, Migrator
from migrator.config import load
from migrator.core.errors import UsageError
from tests._servers import sql
from tests.acceptance._look import runs
from tests.acceptance._project import Project
from tests.faults.deployer import until

LOG = "CREATE TABLE done (name text, at timestamptz DEFAULT clock_timestamp())"


@pytest.fixture
def scripts(shop: Project) -> Project:
    """Give a project with one applied revision, a table in which scripts say that they ran."""
    shop.revision("main", "a1", upgrade=f'await ctx.execute("{LOG}")', downgrade='await ctx.execute("DROP TABLE done")')
    shop.good("upgrade")
    return shop


def script(project: Project, name: str, *more: str, upgrade: str = "", around: str = "", **constants: Any) -> Path:
    """Write a script that notes that it ran, then does more."""
    body = f"await ctx.execute(\"INSERT INTO done VALUES ('{name}')\")\n{upgrade}"
    path = project.revision("main", name, upgrade=body, repeatable=True, **constants)
    path.write_text(path.read_text() + "\n" + around + "\n".join(more), "utf-8")
    return path


def ran(project: Project) -> list[str]:
    """Return the names of the scripts that ran, in order."""
    return [row[0] for row in sql(project.urls["main"], "SELECT name FROM done ORDER BY at")]


def test_when_it_changed(scripts: Project) -> None:
    """An upgrade to the head runs a script that is new, and again when its text changed; not in between."""
    path = script(scripts, "refresh")
    scripts.good("upgrade", "head")
    assert "Nothing to do" in scripts.good("upgrade", "head").stdout
    path.write_text(path.read_text() + "\n# a comment changes nothing\n", "utf-8")
    assert "Nothing to do" in scripts.good("upgrade", "head").stdout
    path.write_text(path.read_text().replace("INSERT INTO done VALUES", "INSERT INTO done (name) VALUES"), "utf-8")
    scripts.good("upgrade", "head")
    assert ran(scripts) == ["refresh", "refresh"]
    assert [run["kind"] for run in runs(scripts.urls["main"], "revision = 'refresh'")] == ["script", "script"]
    assert scripts.good("status", "--json").json()["databases"][0]["clean"]


def test_order_and_tags(scripts: Project) -> None:
    """Scripts run in the order of their depends_on, also when a tag names them; a stray tag gets a suggestion."""
    script(scripts, "a_last", depends_on=("z_first",), tags=("nightly",))
    script(scripts, "z_first", tags=("nightly",))
    script(scripts, "other")
    document = scripts.good("run", "--tag", "nightly", "--jobs", "4", "--json").json()
    assert [each["result"] for each in document["scripts"]] == ["ok", "ok"]
    assert ran(scripts) == ["z_first", "a_last"]
    refused = scripts.run("run", "--tag", "nightli")
    assert refused.exit_code == 3
    assert "Did you mean nightly?" in refused.stderr


def test_side_by_side(scripts: Project) -> None:
    """With --jobs, scripts that do not depend on one another run at the same time."""
    meet = """
import asyncio
for _ in range(600):
    if await ctx.value("SELECT count(*) FROM done") == 2: return
    await asyncio.sleep(0.05)
raise TimeoutError("the other one did not come")
"""
    for name in ("one", "two"):
        script(scripts, name, upgrade=meet, transaction=False, rerunnable=True)
    scripts.good("run", "one", "two", "--jobs", "2")


@pytest.mark.parametrize(("policy", "expected"), [("--stop-on-error", ["bad"]), ("--keep-going", ["bad", "free"])])
def test_one_failure(scripts: Project, policy: str, expected: list[str]) -> None:
    """After a failure what depends on it is left out, and the rest too unless --keep-going; the table says why."""
    script(scripts, "bad", upgrade='raise ValueError("no")', transaction=False)
    script(scripts, "after", depends_on=("bad",))
    script(scripts, "free")
    result = scripts.run("run", "bad", "after", "free", policy, "--json")
    assert result.exit_code == 1
    words = {each["script"]: each["result"] for each in result.json()["scripts"]}
    assert words["main:bad"] == "failed"
    assert words["main:after"] == "left out"
    assert sorted(ran(scripts)) == expected
    again = scripts.run("run", "bad")
    assert again.exit_code == 14, "outside a transaction, so a person looks first"
    assert "--force" in again.stderr
    assert scripts.run("run", "bad", "--force").exit_code == 1


PARAMS = """
from dataclasses import dataclass, field

@dataclass
class Params:
    days: int
    zip: str = "01234"
    names: list[str] = field(default_factory=list)
    api_token: str = ""
"""


@pytest.fixture
def asking(scripts: Project) -> Project:
    """Give a project with a script that takes parameters."""
    say = 'ctx.log.info("token %s", ctx.params.api_token)\nprint(ctx.params)'
    script(scripts, "asking", upgrade=say, around=PARAMS)
    return scripts


def test_parameters(asking: Project) -> None:
    """What follows `--` and --param becomes the script's own Params, JSON where it is; a secret is shown nowhere."""
    rest = ["--", "--days", "3", "--zip=00042", "--names", '["x", "y"]', "--api-token", "s3cr3t-t0ken"]
    result = asking.good("run", "asking", "-v", *rest)
    assert "Params(days=3, zip='00042', names=['x', 'y']" in result.stderr
    (row,) = runs(asking.urls["main"], "revision = 'asking'")
    assert json.loads(row["params"]) == {"days": 3, "zip": "00042", "names": ["x", "y"], "api_token": "***"}
    assert "s3cr3t" not in result.stderr
    assert "token ***" in result.stderr
    kept = [file.read_text() for file in (asking.folder / "logs").glob("asking*")]
    assert kept
    assert not any("s3cr3t" in text for text in kept)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "missing required field `days`"),
        (("--", "--days", "many"), "$.days"),
        (("--", "--dayz", "3"), "Did you mean days?"),
        (("--param", "days"), "no key=value"),
        (("--", "days=3"), "is no parameter"),
    ],
)
def test_wrong_parameters(asking: Project, words: tuple[str, ...], part: str) -> None:
    """Parameters that cannot be are refused with their path before anything starts."""
    result = asking.run("run", "asking", *words)
    assert result.exit_code == 3
    assert part in result.stderr
    assert ran(asking) == []


def test_one_that_asks_is_not_deployed(asking: Project) -> None:
    """A script that needs a parameter waits for somebody who gives it, and `show` lists what it takes."""
    assert "Nothing to do" in asking.good("upgrade", "head").stdout
    shown = asking.good("show", "asking").stdout
    assert "--days int, needed" in shown
    assert '--zip str, by default "01234"' in shown


AROUND = """
from migrator import Validation

async def validate(ctx): return Validation(("old data",), ({errors}))
async def setup(ctx): await ctx.execute("INSERT INTO done VALUES ('setup')")
async def cleanup(ctx): await ctx.execute("INSERT INTO done VALUES ('cleanup')")
"""


def test_what_is_around(scripts: Project) -> None:
    """Setup belongs to the step, cleanup comes after it in any case, warnings of validate are logged."""
    script(scripts, "whole", around=AROUND.format(errors=""))
    result = scripts.good("run", "whole")
    assert "old data" in result.stderr
    assert ran(scripts) == ["setup", "whole", "cleanup"]


def test_validate_says_no(scripts: Project) -> None:
    """Errors of validate end the script before setup; nothing is left in the database but what cleanup does."""
    script(scripts, "whole", around=AROUND.format(errors='"too soon",'), transaction=False)
    result = scripts.run("run", "whole")
    assert result.exit_code == 1
    assert "too soon" in result.stdout
    assert ran(scripts) == ["cleanup"]
    (row,) = runs(scripts.urls["main"], "revision = 'whole'")
    assert (row["status"], row["effect"]) == ("failed", "none")


def test_its_timeout_is_ignored(scripts: Project) -> None:
    """A script that catches what tells it to stop is ended all the same, and cleaned up."""
    stubborn = """
import asyncio
for _ in range(1000):
    try: await ctx.execute("SELECT pg_sleep(10)")
    except Exception: pass
"""
    script(scripts, "stubborn", upgrade=stubborn, around=AROUND.format(errors=""))
    result = scripts.run("run", "stubborn", "--timeout", "1s")
    assert result.exit_code == 1
    assert "failed  main:stubborn" in result.stdout
    assert ran(scripts) == ["cleanup"]


def test_ctrl_c_cleans_up(scripts: Project) -> None:
    """Ctrl-C rolls the script back, runs its cleanup, and releases the lock."""
    script(scripts, "long", upgrade='await ctx.execute("SELECT pg_sleep(60)")', around=AROUND.format(errors=""))
    child = scripts.start("run", "long")
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    until(lambda: sql(scripts.urls["main"], sleeping), "the script sleeps")
    child.send(signal.SIGINT)
    assert child.wait().exit_code == 130
    assert ran(scripts) == ["cleanup"]
    scripts.good("upgrade", "a1", "--lock-timeout", "1s")


def test_requirements(scripts: Project) -> None:
    """Everything that is missing is said at once, with exit code 2, before anything starts."""
    needs = ("env:NOT_SET_ANYWHERE", "mongo:main", "postgres:other", "http://127.0.0.1:1/health")
    script(scripts, "needy", requires=needs)
    result = scripts.run("run", "needy")
    assert result.exit_code == 2
    assert all(need in result.stderr for need in needs)
    assert scripts.run("upgrade", "head").exit_code == 2
    assert ran(scripts) == []
    script(scripts, "needy", requires=("env:NOT_SET_ANYWHERE", "postgres:main"))
    scripts.good("run", "needy", env={"NOT_SET_ANYWHERE": "now it is"})


def test_environments(scripts: Project) -> None:
    """What belongs to another environment is left out of an upgrade, and refused by name."""
    script(scripts, "elsewhere", environments=("staging",))
    assert "Nothing to do" in scripts.good("upgrade", "head").stdout
    assert "ENVIRONMENT" in scripts.run("run", "elsewhere").stderr
    scripts.good("upgrade", "head", env={"ENVIRONMENT": "staging"})
    assert ran(scripts) == ["elsewhere"]
    scripts.table("main", "b2", "a1", environments=("staging",))
    scripts.table("main", "c3", "b2")
    assert "1 applied" in scripts.good("upgrade", "head").stdout
    lines = scripts.good("status", "--exit-code", "--json").json()["databases"][0]["lines"]
    assert [line["state"] for line in lines] == ["applied", "elsewhere", "applied"]


def test_protected(scripts: Project) -> None:
    """Destructive commands in a protected environment need its name; the rest goes on as ever."""
    scripts.toml.write_text(scripts.toml.read_text() + "[environments.production]\nprotected = true\n", "utf-8")
    live = {"ENVIRONMENT": "production"}
    for words in (("downgrade", "-1"), ("upgrade", "a1", "--force"), ("run", "x", "--force")):
        result = scripts.run(*words, env=live)
        assert result.exit_code == 3
        assert "--yes-i-mean production" in result.stderr
    assert scripts.run("downgrade", "-1", "--yes-i-mean", "staging", env=live).exit_code == 3
    scripts.good("upgrade", env=live)
    scripts.good("downgrade", "-1", "--yes-i-mean", "production", env=live)
    old = next(run["run_id"] for run in scripts.good("runs", "--json").json()["runs"] if run["superseded_by"])
    assert scripts.run("runs", "delete", old, "--yes", env=live).exit_code == 3
    scripts.good("runs", "delete", old, "--yes", "--yes-i-mean", "production", env=live)


def test_as_a_program(scripts: Project) -> None:
    """A file that ends with run_cli runs, is taken back, and shows itself, scripts and ordered revisions alike."""
    end = 'if __name__ == "__main__":\n    from migrator import run_cli\n    run_cli(__file__)\n'
    down = 'async def downgrade(ctx): await ctx.execute("DELETE FROM done")\n'
    beside = script(scripts, "refresh", down, end)
    ordered = scripts.table("main", "b2", "a1")
    ordered.write_text(ordered.read_text() + end, "utf-8")

    def program(path: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
        command = [sys.executable, str(path), *words]
        return subprocess.run(command, check=False, capture_output=True, env=scripts.environ(), timeout=60)

    assert program(beside, "run").returncode == 0
    assert ran(scripts) == ["refresh"]
    assert b"done" in program(beside, "status").stdout
    assert program(beside, "rollback").returncode == 0
    assert ran(scripts) == []
    assert program(ordered, "run").returncode == 0
    assert program(ordered, "run", "--force").returncode == 1
    assert program(ordered, "rollback").returncode == 0
    assert program(ordered, "dance").returncode == 3


async def test_from_code(scripts: Project) -> None:
    """`await m.run(...)` takes values and gives back what the command prints as JSON."""
    script(scripts, "asking", around=PARAMS)
    async with Migrator.open(load(str(scripts.toml), {})) as migrator:
        outcome = await migrator.run("asking", params={"days": 2, "names": ["x"]})
    assert outcome.exit_code == 0
    assert outcome.as_dict()["scripts"][0]["run"]["params"]["names"] == ["x"]


def test_without_a_loop(scripts: Project) -> None:
    """The blocking twin gives back the same values, and closes its connections."""
    script(scripts, "refresh")
    with BlockingMigrator(load(str(scripts.toml), {})) as migrator:
        assert [run.revision for run in migrator.upgrade("head").runs] == ["refresh"]
        assert migrator.run("refresh").results[0].word == "ok"
        assert migrator.status()[0].clean
    left = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'migrator:%'"
    assert sql(scripts.urls["main"], left) == []


async def test_inside_a_loop(scripts: Project) -> None:
    """The blocking twin says what to use where a loop runs."""
    with pytest.raises(UsageError, match="event loop"), BlockingMigrator(load(str(scripts.toml), {})):
        pass


def test_verify_all(scripts: Project) -> None:
    """Verifies run side by side, are recorded as runs that change no state, and a report is written in both forms."""
    scripts.revision("main", "b2", "a1", verify="return True", tags=("verification",))
    scripts.revision(
        "main", "c3", "b2", verify='return await ctx.value("SELECT count(*) FROM done") == 0', tags=("verification",)
    )
    scripts.good("upgrade", "head")
    sql(scripts.urls["main"], "INSERT INTO done VALUES ('drift')")
    result = scripts.run("verify", "--jobs", "8", "--tag", "verification", "--report", "out.xml")
    assert result.exit_code == 13
    suite = ET.parse(scripts.folder / "out.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert scripts.run("verify", "--report", "out.json").exit_code == 13
    found = json.loads((scripts.folder / "out.json").read_text())["verify"]
    assert [each["ok"] for each in found] == [None, True, False]
    recorded = runs(scripts.urls["main"], "kind = 'verify'")
    assert sorted(run["status"] for run in recorded) == ["failed", "failed", "success", "success"]
    assert scripts.good("status", "--json").json()["databases"][0]["clean"]
    scripts.good("upgrade", "head")
