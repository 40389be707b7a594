"""The log file of a run, as `migrator logs` prints it: written by real commands, and by whoever tampers with it."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests._servers import sql
from tests.acceptance._look import documents, runs
from tests.acceptance._project import Project, until
from tests.acceptance.test_secrets import PASSWORD, clean

CHATTY = """
import asyncio, logging, warnings
ctx.log.debug("too quiet")
ctx.log.info("by the script")
logging.getLogger("library").info("by a library")
await asyncio.to_thread(logging.warning, "in a thread")
ctx.log.info("%d", "not a number")
"""


def log_of(project: Project, **fields: str) -> tuple[dict[str, Any], Path]:
    """Return the only run that is so, and where its log file should be."""
    where = " AND ".join(f"{name} = '{value}'" for name, value in fields.items())
    (run,) = runs(project.urls["main"], where)
    return run, project.folder / "logs" / run["log_file"]


def test_a_run_and_its_log(shop: Project) -> None:
    """Every run has a file of its own with all that was said in it; `logs` prints it from a level on."""
    shop.revision("main", "a1", upgrade=CHATTY)
    shop.sql("main", "b2", "a1", upgrade="CREATE TABLE t (id int);")
    shop.revision("main", "c3", "b2", upgrade='ctx.log.warning("soon")\nraise RuntimeError("that is how it is")')
    result = shop.run("upgrade")
    assert result.exit_code == 1
    assert "Logging error" not in result.stderr
    run, path = log_of(shop, revision="a1")
    assert path.name.startswith("a1-20")
    assert path.name.endswith(f"-{run['run_id']}.log")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    said = shop.good("logs", run["run_id"]).stdout
    assert said == path.read_text()
    for part in (
        "[INFO] [a1] by the script",
        "library: by a library",
        "root: in a thread",
        "'%d' with",
        "success, effect",
    ):
        assert part in said, part
    assert "too quiet" not in said
    quiet, _ = log_of(shop, revision="b2")
    assert "success, effect full" in shop.good("logs", quiet["run_id"]).stdout
    failed, _ = log_of(shop, revision="c3")
    document = shop.good("logs", failed["run_id"], "--level", "error", "--json").json()
    assert document["note"] == ""
    assert document["lines"][0].endswith("[ERROR] [c3] Traceback (most recent call last):")
    assert document["lines"][-1] == "    RuntimeError: that is how it is"
    assert json.loads(failed["result"]) == {"error_class": "RuntimeError", "log": ["[WARNING] soon"]}


def test_mongodb_names_its_logs_too(project: Project, mongo_url: str) -> None:
    """The row of a run on MongoDB names its file, in a folder of one's choice and as JSON."""
    project.configure(events=mongo_url)
    project.toml.write_text(
        f'{project.toml.read_text()}\n[logs]\nfolder = "var/runs"\nformat = "json"\nlevel = "DEBUG"\n'
    )
    project.revision("events", "e1", upgrade='ctx.log.debug("quiet", extra={"rows": 3})')
    project.good("upgrade")
    (row,) = documents(mongo_url, "script_run_tracker")
    path = project.folder / "var" / "runs" / row["log_file"]
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    (quiet,) = (entry for entry in entries if entry["message"] == "quiet")
    assert quiet["rows"] == 3
    assert (quiet["levelname"], quiet["script"], quiet["run_id"]) == ("DEBUG", "e1", row["_id"])
    assert "quiet" not in project.good("logs", row["_id"], "--level", "INFO").stdout
    assert "quiet" in project.good("logs", row["_id"]).stdout


SLOW = """
import asyncio, pathlib
ctx.log.info("the first line")
while not pathlib.Path("go").exists():
    await asyncio.sleep(0.05)
for number in range(200):
    ctx.log.info("line %d %s", number, "x" * 50)
"""


def test_following_a_run(shop: Project) -> None:
    """`--follow` prints what is there and what comes, through files that are full, and ends when the run does."""
    shop.toml.write_text(f"{shop.toml.read_text()}\n[logs]\nmax_bytes = 4096\n")
    shop.revision("main", "a1", upgrade=SLOW, transaction=False)
    child = shop.start("upgrade")
    until(lambda: list(shop.folder.glob("logs/a1-*.log")), "the run has a log")
    run, _ = log_of(shop, revision="a1")
    following = shop.start("logs", run["run_id"], "--follow")
    out = shop.folder / ".child1.stdout"
    until(lambda: "the first line" in out.read_text(), "what is there is printed")
    assert following.runs()
    (shop.folder / "go").touch()
    assert child.wait().exit_code == 0
    result = following.wait()
    assert result.exit_code == 0
    assert [f"line {number} " in result.stdout for number in range(200)] == [True] * 200
    assert "success, effect full" in result.stdout.splitlines()[-1]
    assert len(list(shop.folder.glob("logs/*.gz"))) > 1
    assert "success, effect full" in shop.good("logs", run["run_id"], "--follow").stdout
    assert shop.run("logs", run["run_id"], "--follow", "--json").exit_code == 3


def test_following_a_run_that_dies(shop: Project) -> None:
    """The run whose process was killed is over for whoever follows it."""
    import signal

    shop.revision("main", "a1", upgrade=SLOW, transaction=False)
    child = shop.start("upgrade")
    until(lambda: list(shop.folder.glob("logs/a1-*.log")), "the run has a log")
    run, _ = log_of(shop, revision="a1")
    following = shop.start("logs", run["run_id"], "--follow")
    until(lambda: "the first line" in (shop.folder / ".child1.stdout").read_text(), "it is followed")
    child.send(signal.SIGKILL)
    assert following.wait().exit_code == 0


def test_a_log_that_is_not_there(shop: Project, tmp_path: Path) -> None:
    """Missing, unreadable, or out of the folder: said, with what the tracker kept, and never opened."""
    shop.revision("main", "a1", upgrade='ctx.log.warning("soon")\nraise RuntimeError("no")')
    assert shop.run("upgrade").exit_code == 1
    run, _ = log_of(shop, revision="a1")
    (tmp_path / "outside.log").write_text("SECRET")
    (tmp_path / "project" / "logs" / f"b2-20260101T000000Z-{run['run_id']}.log").write_text("of the same run")

    def note(name: str, *args: str) -> str:
        sql(shop.urls["main"], f"UPDATE script_run_tracker SET log_file = '{name}'")
        result = shop.good("logs", run["run_id"], *args)
        assert "SECRET" not in result.text
        assert "kept: [WARNING] soon" in result.stdout
        return result.stdout

    for name in ("../../outside.log", str(tmp_path / "outside.log"), ".."):
        assert "which is not opened" in note(name)
    assert "which is not opened" in note("/etc/passwd", "--follow")
    gone = f"a1-20260101T000000Z-{run['run_id']}.log"
    assert "is not there (any more)" in note(gone)
    assert "wrote no log file" in note("")
    link = shop.folder / "logs" / gone
    link.symlink_to(tmp_path / "outside.log")
    assert "cannot be read" in note(gone)
    link.unlink()
    os.mkfifo(link)
    assert "cannot be read" in note(gone)
    link.unlink()
    link.mkdir()
    document = shop.good("logs", run["run_id"], "--json").json()
    assert "cannot be read" in document["note"]
    assert document["lines"] == []


def test_a_compressed_part_that_is_broken(shop: Project) -> None:
    """What can be read is printed, and where it breaks off is said."""
    shop.revision("main", "a1", upgrade='ctx.log.info("here")')
    shop.good("upgrade")
    run, path = log_of(shop, revision="a1")
    path.with_name(f"{path.name}.1.gz").write_bytes(b"no gzip")
    said = shop.good("logs", run["run_id"]).stdout
    assert "cannot be read to its end" in said
    assert "here" in said


def test_no_place_for_logs(shop: Project) -> None:
    """A folder that cannot be made harms no run: one warning, and the rows name no file. None at all is silent."""
    (shop.folder / "logs").write_text("a file is in the way")
    shop.tables("main", "a1", "b2")
    result = shop.good("upgrade")
    assert result.stderr.count("no log files are written") == 1
    assert {run["log_file"] for run in runs(shop.urls["main"])} == {""}
    shop.toml.write_text(f'{shop.toml.read_text()}\n[logs]\nfolder = ""\n')
    shop.table("main", "c3", "b2")
    assert shop.good("upgrade").stderr == ""


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_log_shows_a_password(shop: Project, form: str) -> None:
    """Whatever is logged, warned of or raised in a run: the password is in no log, no row, and not on stderr."""
    url = shop.urls["main"]
    sql(url, "DROP ROLE IF EXISTS telltale", f"CREATE ROLE telltale SUPERUSER LOGIN PASSWORD '{_quoted(PASSWORD)}'")
    try:
        from urllib.parse import quote

        from tests._servers import with_user

        shop.configure(main=with_user(url, f"telltale:{quote(PASSWORD, safe='')}"))
        shop.env = {"DATABASE_URL": shop.urls["main"], "PGSECRET": PASSWORD, "PYTHONWARNINGS": "default"}
        shop.toml.write_text(f'{shop.toml.read_text()}\n[logs]\nformat = "{form}"\n')
        shop.revision("main", "a1", upgrade=TELLS)
        result = shop.run("upgrade", env={"LOG_LEVEL": "DEBUG"})
        assert result.exit_code == 1
        clean(result.text)
        (path,) = shop.folder.glob("logs/*.log")
        text = path.read_text()
        assert text.count("***") >= 8
        clean(text)
        (row,) = runs(url)
        clean(str({**row, "source": ""}))
        clean(shop.good("logs", row["run_id"]).text)
        clean(shop.good("runs").text + shop.good("runs", "--json").text)
    finally:
        sql(url, "REASSIGN OWNED BY telltale TO postgres", "DROP OWNED BY telltale", "DROP ROLE telltale")


TELLS = """
import asyncio, logging, os, warnings
url, password = os.environ["DATABASE_URL"], os.environ["PGSECRET"]
ctx.log.info("connecting to %s", url, extra={"url": {"deep": [url]}})
ctx.log.info(url)
logging.getLogger("library").warning("with %r", password)
await asyncio.to_thread(logging.error, "in a thread %s", password)
warnings.warn(f"old address {url}", stacklevel=1)
ctx.log.info("%d", password)
try:
    raise ValueError(url)
except ValueError:
    ctx.log.exception("so")
raise RuntimeError(f"cannot use {url} with {password}")
"""


def _quoted(text: str) -> str:
    return text.replace("'", "''")
