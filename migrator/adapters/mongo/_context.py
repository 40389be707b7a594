"""What a MongoDB revision receives."""

from typing import Any

from pymongo.asynchronous.database import AsyncDatabase

from migrator.adapters._context import ContextBase
from migrator.core.protocols import Databases
from migrator.core.run import Run


class Context(ContextBase):
    """The context of a MongoDB revision: `ctx.db` is the database.

    In a transactional step every command that this step's task or its children send joins the step's transaction,
    with or without `session=`; nobody but the step commits it. One transaction is one conversation: do not send its
    commands side by side with `asyncio.gather`. Elsewhere each command takes effect by itself.
    """

    def __init__(self, run: Run | None, databases: Databases | None, db: AsyncDatabase[dict[str, Any]]) -> None:
        super().__init__(run, databases)
        self._db = db

    @property
    def db(self) -> AsyncDatabase[dict[str, Any]]:
        """The database. Whoever asks for it counts as having touched it."""
        self.touched = True
        return self._db

    async def settle(self) -> None:
        """Do nothing: what was sent was sent, nothing waits here."""
