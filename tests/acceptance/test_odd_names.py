"""Names and values that are not UTF-8: refused when they are read, or escaped before a driver sees them."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.config import load
from migrator.core.errors import ConfigError
from migrator.runtime.migrator import Migrator
from tests.acceptance._project import Project

ODD = os.fsdecode(b"caf\xe9")


@pytest.fixture
def odd(tmp_path: Path, postgres_url: str, mongo_url: str) -> Iterator[Project]:
    """Give a project with a database of either kind, in a folder whose name is not UTF-8."""
    folder = tmp_path / ODD
    folder.mkdir()
    made = Project(folder)
    made.configure(main=postgres_url, events=mongo_url)
    made.table("main", "a1")
    made.collection("events", "e1")
    yield made
    made.close()


async def test_folder_host_and_user(odd: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder, on a host and for a user whose names are not UTF-8, revisions run, and the runs name all of them."""
    monkeypatch.setattr(socket, "gethostname", lambda: ODD)
    for name in ("LOGNAME", "USER"):
        monkeypatch.setenv(name, ODD)
    async with Migrator.open(load(str(odd.toml), {})) as migrator:
        assert [run.status for run in (await migrator.upgrade("main:head", "events:head")).runs] == ["success"] * 2
        for name in ("main", "events"):
            (run,) = (await migrator.past.runs(databases=(name,))).runs
            assert (run.user, run.host) == (r"caf\udce9", r"caf\udce9")
            assert list(migrator.past.log(run))
        await migrator.unlock("\ud800", ("main", "events"))
    assert "Nothing to do" in odd.good("upgrade", "heads", env={"USER": ODD, "LOGNAME": ODD}).stdout


@pytest.mark.parametrize("name", [f"{ODD}.sql", f"{ODD}.py", f"{ODD}/b1.sql"])
@pytest.mark.parametrize("kind", ["main", "events"])
def test_file_names(both: Project, kind: str, name: str) -> None:
    """A revision's file whose name is not UTF-8 is refused when the folder is read; other files do not matter."""
    folder = both.revisions(kind)
    (folder / f"{ODD}.txt").touch()
    both.good("history")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("-- Title\n-- revision: b1\n-- down_revision: none\n\n-- migrator: upgrade\nSELECT 1\n")
    for command in ("history", "upgrade", "status"):
        refused = both.run(command, "--json")
        assert refused.exit_code == 3
        assert r"caf\udce9" in refused.error()["path"]


@pytest.mark.parametrize(
    "words",
    [("unlock", "--reason", ODD), ("new", ODD), ("upgrade", ODD), ("run", "x", "--a", ODD), ("status", "-d", ODD)],
)
def test_arguments(shop: Project, words: tuple[str, ...]) -> None:
    """An argument that is not UTF-8 is refused before anything is done."""
    refused = shop.run(*words, "--json")
    assert (refused.exit_code, refused.error()["type"]) == (3, "UsageError")
    assert not [*shop.revisions("main").iterdir()]


def test_variables(shop: Project) -> None:
    """A variable that is not UTF-8 is refused by its name, also where the file refers to it."""
    for name in ("RELEASE", "ENVIRONMENT", "DRY_RUN"):
        with pytest.raises(ConfigError, match=name):
            load(str(shop.toml), {name: ODD})
    shop.toml.write_text('[databases.main]\nurl = "postgresql://u:${SECRET}@h/d"\n', "utf-8")
    with pytest.raises(ConfigError, match="SECRET"):
        load(str(shop.toml), {"SECRET": ODD})


def test_embedded_server(tmp_path: Path) -> None:
    """An embedded server in such a folder is refused with the reason: PostgreSQL would not start there."""
    (tmp_path / ODD / "revisions").mkdir(parents=True)
    project = Project(tmp_path / ODD)
    project.toml.write_text('[databases.main]\nurl = "embedded:postgres"\n', "utf-8")
    refused = project.run("upgrade")
    assert refused.exit_code == 3
    assert "not UTF-8" in refused.stderr
