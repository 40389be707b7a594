"""What a MongoDB revision receives."""

from typing import Any

from bson.errors import BSONError
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from migrator.adapters._context import ContextBase
from migrator.adapters.mongo._errors import explain
from migrator.core.errors import MigratorError
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

    def explain(self, error: Exception) -> MigratorError | None:
        """Return what pymongo's error means, None where it is not pymongo's."""
        return explain(error, "run a command") if isinstance(error, PyMongoError | BSONError) else None

    async def settle(self) -> None:
        """Do nothing: what was sent was sent, nothing waits here."""
