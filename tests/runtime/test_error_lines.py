"""Whatever a server refuses in a Python revision is said with the file and the line, on every way to the server."""

import pytest

from migrator.config import load
from migrator.core.errors import RunFailed
from migrator.runtime.migrator import Migrator
from tests.acceptance._project import Project

POSTGRES = [
    'await ctx.execute("SELECT 1 / 0")',
    'await ctx.fetch("SELECT $1::int", "x")',
    "from sqlalchemy import text; await ctx.conn.execute(text('SELECT 1 / 0'))",
    "from sqlalchemy import text; await ctx.session.execute(text('SELECT * FROM nowhere'))",
]
MONGO = [
    "await ctx.db.c.insert_many([{'_id': 1}, {'_id': 1}])",
    "await ctx.db.command('nope')",
    "await ctx.db.c.update_one({}, {'a': 1})",
]


@pytest.mark.parametrize("section", ["upgrade", "verify"])
@pytest.mark.parametrize("database", ["main", "events"])
async def test_file_and_line(both: Project, database: str, section: str) -> None:
    """The line is that of the revision's own code, not of a library below it."""
    for body in POSTGRES if database == "main" else MONGO:
        functions = {"upgrade": "pass", section: f"ctx.log.info('first')\n{body}"}
        path = both.revision(database, "aa01", rerunnable=True, **functions)
        line = path.read_text("utf-8").splitlines().index(f"    {body}") + 1
        async with Migrator.open(load(str(both.toml), {})) as migrator:
            with pytest.raises(RunFailed) as caught:
                await migrator.upgrade(f"{database}:head")
        assert f"revisions/{database}/aa01.py:{line}: " in caught.value.message, caught.value.message
