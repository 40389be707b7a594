"""On MongoDB the transaction of a step is the step's: a script cannot end it."""

import pytest

from migrator import Migrator
from migrator.config import load
from migrator.core.errors import RunFailed
from tests.acceptance._look import documents
from tests.acceptance._project import Project

COMMANDS = (
    '"commitTransaction"',
    '{"commitTransaction": 1, "autocommit": False}',
    '"abortTransaction"',
)


async def test_a_script_cannot_end_the_transaction(both: Project) -> None:
    """A command that would end it is refused before it is sent, so what the error says of the data is true."""
    async with Migrator.open(load(str(both.toml), {})) as migrator:
        for command in COMMANDS:
            for admin in ("ctx.db.client.admin", 'ctx.db.client["admin"]', 'ctx.db.client.get_database("admin")'):
                body = f'await ctx.db.rows.insert_one({{"n": 1}})\nawait {admin}.command({command})'
                both.revision("events", "a1", upgrade=body, transaction=True)
                with pytest.raises(RunFailed, match="a script cannot send") as failed:
                    await migrator.upgrade("head")
                assert "rolled back" in failed.value.state
                assert documents(both.urls["events"], "rows") == []
