"""Files of a revisions folder that are no revisions, though they were meant to be, are named and not left out."""

import os
from pathlib import Path

import pytest

from migrator.config import Database, load
from migrator.core.errors import RevisionFileError
from migrator.runtime import directory

TEXT = "-- revision: aa01\n-- migrator: upgrade\nSELECT 1;\n"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Give a database whose folder has one revision and files that nobody takes for one."""
    folder = tmp_path / "revisions"
    folder.mkdir()
    (folder / "aa01.sql").write_text(TEXT, "utf-8")
    for name in ("README.md", "heads.lock", "_helper.py", ".aa01.sql.swp", "aa01.sql~", "aa01.sql.bak", "rows.csv"):
        (folder / name).write_text("", "utf-8")
    toml = tmp_path / "migrator.toml"
    toml.write_text('[databases.main]\nurl = "postgresql://localhost/x"\n', "utf-8")
    return load(str(toml), {}).databases["main"]


def test_other_files_are_left_alone(database: Database) -> None:
    """Documents, backups and what begins with an underscore are no revisions."""
    assert [each.id for each in directory.read(database, database.revisions.parent)] == ["aa01"]


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("bb02.SQL", ".sql"),
        ("bb02.Sql", ".sql"),
        ("bb02.sql ", ".sql"),
        ("bb02.PY", ".py"),
        ("bb02.pgsql", ".sql"),
        ("bb02.psql", ".sql"),
        ("bb02.sql.txt", ".sql"),
        ("bb02.py.txt", ".py"),
        ("sub/bb02.SQL", ".sql"),
    ],
)
def test_another_ending(database: Database, name: str, right: str) -> None:
    """A file that misses its ending by a little is refused, with the ending that it should have."""
    path = database.revisions / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(TEXT, "utf-8")
    with pytest.raises(RevisionFileError, match="would be left out") as caught:
        directory.read(database, database.revisions.parent)
    assert f"ends with {right}" in caught.value.hint


def test_links(database: Database) -> None:
    """A link that leads nowhere, in a circle, or to a folder is refused by name."""
    link = database.revisions / "bb02.sql"
    for target, message in (
        ("nowhere.sql", r"bb02\.sql: is a link to nowhere\.sql, which cannot be followed"),
        ("bb02.sql", r"bb02\.sql: is a link to bb02\.sql, which cannot be followed"),
    ):
        link.symlink_to(target)
        with pytest.raises(RevisionFileError, match=message):
            directory.read(database, database.revisions.parent)
        link.unlink()
    (database.revisions.parent / "more").mkdir()
    (database.revisions / "more").symlink_to("../more")
    with pytest.raises(RevisionFileError, match="is a link to a folder"):
        directory.read(database, database.revisions.parent)


def test_a_pipe(database: Database) -> None:
    """What is not a file is not opened: reading a pipe would wait for ever."""
    os.mkfifo(database.revisions / "bb02.sql")
    with pytest.raises(RevisionFileError, match="is not a file"):
        directory.read(database, database.revisions.parent)


@pytest.mark.parametrize("name", ["head", "heads", "base", "none", "HEAD", "None"])
@pytest.mark.parametrize("form", ["-- revision: {}\n-- migrator: upgrade\nSELECT 1;\n", 'revision = "{}"\n{}'])
def test_reserved_ids(database: Database, name: str, form: str) -> None:
    """An id that means a place in targets, or nothing in a header, is refused with the file and the line."""
    path = database.revisions / ("bb02.sql" if form.startswith("--") else "bb02.py")
    path.write_text(form.format(name, "async def upgrade(ctx): ...\n"), "utf-8")
    with pytest.raises(RevisionFileError, match=rf'bb02\.\w+:1: revision is "{name}", which is reserved'):
        directory.read(database, database.revisions.parent)


def test_reserved_labels(database: Database) -> None:
    """A branch cannot be called like a place."""
    (database.revisions / "bb02.sql").write_text("-- branch_labels: head\n" + TEXT, "utf-8")
    with pytest.raises(RevisionFileError, match=r'bb02\.sql:1: branch_labels names "head", which is reserved'):
        directory.read(database, database.revisions.parent)
