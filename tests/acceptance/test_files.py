"""Files that cannot be read or written: which one, whose it is, as whom the command runs, and what to do."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migrator.config import load
from migrator.core.advice import advised
from migrator.core.errors import FileDenied, FileFailed
from migrator.runtime.creating import create
from migrator.runtime.migrator import Migrator
from tests.acceptance._project import Project

STRANGER = 1000610000
"""A uid without a name, as platforms give it to a container."""


@contextmanager
def stranger() -> Iterator[None]:
    """Be another user in this block, if this one may read everything."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(STRANGER)
    try:
        yield
    finally:
        os.seteuid(mine)


@pytest.fixture
def open_shop(shop: Project) -> Iterator[Project]:
    """Give a project in a folder that other users may pass through."""
    shop.table("main", "a1")
    for folder in (shop.folder, *shop.folder.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    yield shop
    for path in (shop.toml, *shop.revisions("main").glob("*"), shop.revisions("main")):
        path.chmod(0o700)


def test_a_configuration_that_cannot_be_read(open_shop: Project) -> None:
    """A configuration that this user may not read is named with its owner and mode, and with us."""
    open_shop.toml.chmod(0o000)
    with stranger(), pytest.raises(FileDenied) as caught:
        load(str(open_shop.toml), {})
    assert caught.value.exit_code == 5
    for part in (str(open_shop.toml), f"uid {open_shop.toml.stat().st_uid} ", "mode 0000", "Permission denied"):
        assert part in caught.value.message
    assert "chmod" in advised(caught.value).hint


@pytest.mark.parametrize("what", ["file", "folder"])
async def test_revisions_that_cannot_be_read(open_shop: Project, what: str) -> None:
    """A revision's file, and the folder, are named in the same way, by every command that reads them."""
    folder = open_shop.revisions("main")
    path = folder if what == "folder" else folder / "a1.py"
    path.chmod(0o000)
    async with Migrator.open(load(str(open_shop.toml), {})) as migrator:
        for ask in (migrator.upgrade(), migrator.status(), migrator.history()):
            with stranger(), pytest.raises(FileDenied, match="mode 0000") as caught:
                await ask
            assert str(path) in caught.value.message


def test_a_folder_that_cannot_be_written(open_shop: Project) -> None:
    """`new` in a folder that this user may not write to names the folder above the new file."""
    folder = open_shop.revisions("main")
    folder.chmod(0o555)
    config = load(str(open_shop.toml), {})
    with stranger(), pytest.raises(FileDenied, match=f"the folder {folder} belongs to uid") as caught:
        create(config, "add email")
    assert "mode 0555" in caught.value.message
    assert [file.name for file in folder.iterdir()] == ["a1.py"]


def test_a_read_only_file_system(project: Project) -> None:
    """On a file system that is mounted read-only `init` says what it is, and ends with 5."""
    denied = subprocess.run(
        project.command("init", "--json", "--config", "/sys/kernel/migrator.toml"),
        check=False, cwd=project.folder, env=project.environ(), capture_output=True, timeout=60,
    )  # fmt: skip
    assert denied.returncode == 5, denied
    assert b"defect" not in denied.stdout
    assert b"/sys/kernel" in denied.stdout


@pytest.mark.parametrize("odd", ["folder", "bytes", "link"])
def test_a_configuration_that_is_none(project: Project, odd: str) -> None:
    """A folder in the place of the file, a link that leads nowhere, and bytes that are not UTF-8 are named."""
    if odd == "folder":
        project.toml.mkdir()
    elif odd == "link":
        project.toml.symlink_to("nowhere")
    else:
        project.toml.write_bytes(b"\xff")
    refused = project.run("status", "--json")
    assert refused.exit_code == 3
    assert "migrator.toml" in refused.error()["message"]
    assert ("UTF-8" in refused.error()["message"]) is (odd == "bytes")


def test_a_deleted_folder(project: Project) -> None:
    """In a folder that was deleted a command says so."""
    gone = project.folder / "gone"
    gone.mkdir()
    refused = subprocess.run(
        ["/bin/sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *project.command("status", "--json")],
        check=False, cwd=gone, env=project.environ(), capture_output=True, timeout=60,
    )  # fmt: skip
    assert refused.returncode == 3, refused
    assert b"current folder does not exist" in refused.stdout


def test_other_paths() -> None:
    """Whatever file it is, it is no defect; an error without a path is none of these."""
    for number, name in ((28, "No space"), (30, "Read-only")):
        known = advised(OSError(number, name, "/nowhere/x"))
        assert isinstance(known, FileFailed)
        assert isinstance(known, FileDenied) is (number == 30)
        assert "/nowhere/x" in known.message
    assert not isinstance(advised(OSError(111, "refused")), FileFailed)
