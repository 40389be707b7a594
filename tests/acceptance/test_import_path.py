"""Modules of the project: the folder of migrator.toml is on the import path of revisions."""

import subprocess
import sys
from pathlib import Path

from migrator import BlockingMigrator
from migrator.config import load
from tests.acceptance._look import relations
from tests.acceptance._project import Project


def app(folder: Path, name: str, table: str) -> str:
    """Write a package with a list of tables and return the line that imports it."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    (folder / name / "models.py").write_text(f'TABLES = ["{table}"]\n', "utf-8")
    return f"from {name}.models import TABLES"


MAKE = 'for name in TABLES:\n    await ctx.execute(f"CREATE TABLE {name} (id int)")'


def test_the_folder_of_the_configuration(shop: Project, tmp_path: Path) -> None:
    """A revision imports `app.models` from there, whatever the current folder; in slices as well."""
    line = app(shop.folder, "shop_app", "orders")
    walk = (
        'async for batch in ctx.batches("orders", workers=2):\n    async with batch:\n'
        '        await ctx.execute(f"UPDATE {TABLES[0]} SET n = 1 WHERE {batch.where}", *batch.args)'
    )
    make = "await ctx.execute('CREATE TABLE orders AS SELECT g AS id, 0 AS n FROM generate_series(1, 50) AS g')"
    key = "await ctx.execute('ALTER TABLE orders ADD PRIMARY KEY (id)')"
    shop.revision("main", "a1", upgrade=f"{line}\nassert TABLES == ['orders']\n{make}\n{key}")
    shop.revision("main", "a2", "a1", upgrade=f"{line}\n{walk}")
    code = "from migrator.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "upgrade", "--config", str(shop.toml)],
        cwd=tmp_path,
        env=shop.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert relations(shop.urls["main"]) == {"orders"}


def test_another_folder(shop: Project) -> None:
    """`path` names the folders; one that is on the import path already is not added again."""
    line = app(shop.folder / "src", "shop_source", "stock")
    shop.configure(top='path = ["src", "."]', **shop.urls)
    shop.revision("main", "a1", upgrade=f"{line}\n{MAKE}")
    before = list(sys.path)
    for _ in range(2):
        with BlockingMigrator(load(str(shop.toml))) as migrator:
            migrator.upgrade("head")
    assert sys.path == [str(shop.folder / "src"), str(shop.folder), *before]
    assert relations(shop.urls["main"]) == {"stock"}


def test_what_is_in_none_of_them(shop: Project) -> None:
    """The error names the key."""
    shop.revision("main", "a1", upgrade="pass").write_text(
        'revision = "a1"\nimport no_such_app.models\nasync def upgrade(ctx): pass\n', "utf-8"
    )
    result = shop.run("upgrade")
    assert result.exit_code == 3
    assert 'path = ["."] is the folder of migrator.toml' in result.stderr
