"""What a MongoDB revision receives."""

from typing import TYPE_CHECKING, Any

from bson.errors import BSONError
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from migrator.adapters._context import ContextBase
from migrator.adapters.mongo._errors import explain
from migrator.adapters.mongo._sent import Sent
from migrator.core.errors import MigratorError, UsageError
from migrator.core.protocols import Databases
from migrator.core.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from migrator.core.batch import Ledger, Walk


class Context(ContextBase):
    """The context of a MongoDB revision: `ctx.db` is the database.

    In a transactional step every command that this step's task or its children send joins the step's transaction,
    with or without `session=`; nobody but the step commits it. One transaction is one conversation: do not send its
    commands side by side with `asyncio.gather`. The same is so inside a batch, `async with batch:`. Elsewhere each
    command takes effect by itself.
    """

    def __init__(
        self,
        run: Run | None,
        databases: Databases | None,
        db: AsyncDatabase[dict[str, Any]],
        ledger: "Callable[[], Ledger] | None" = None,
        sent: Sent | None = None,
    ) -> None:
        self._sent = sent or Sent()
        super().__init__(run, databases)
        self._db = db
        self._ledger = ledger

    @property
    def db(self) -> AsyncDatabase[dict[str, Any]]:
        """The database."""
        return self._db

    @property
    def touched(self) -> bool:
        """Whether a command that may change something has been sent."""
        return self._sent.changing

    @touched.setter
    def touched(self, value: bool) -> None:
        self._sent.changing = value

    def walk(self, source: str, key: tuple[str, ...], where: Any) -> "tuple[Walk, Ledger]":
        """Return the way along a collection, and where its checkpoints are kept; `where` is a filter."""
        from migrator.adapters.mongo._walk import MongoWalk

        if self._ledger is None:
            raise UsageError("ctx.batches works in a step")
        return MongoWalk(self._db, source, key, where), self._ledger()

    def explain(self, error: Exception) -> MigratorError | None:
        """Return what pymongo's error means, None where it is not pymongo's."""
        return explain(error, "run a command") if isinstance(error, PyMongoError | BSONError) else None

    async def settle(self) -> None:
        """Do nothing: what was sent was sent, nothing waits here."""
