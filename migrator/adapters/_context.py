"""What every context has, whatever the database."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from migrator.core.errors import CheckFailed, MigratorError
from migrator.core.protocols import Databases
from migrator.core.run import Run

if TYPE_CHECKING:
    from logging import Logger


class ContextBase:
    """The part of a context that needs no driver. `run` is None outside a step.

    `sent` counts the statements, where the adapter sees each of them.
    """

    def __init__(self, run: Run | None, databases: Databases | None) -> None:
        self.run = run
        self.touched = False
        self.sent = 0
        self._databases = databases

    @property
    def log(self) -> "Logger":
        """The logger of this run: `ctx.log.info("...")`."""
        from logging import getLogger

        return getLogger(f"migrator.script.{self.run.revision}" if self.run else "migrator.script")

    def explain(self, error: Exception) -> MigratorError | None:
        """Return what a driver's error means, None where it is none of a driver's."""
        del error
        return None

    def check(self, ok: object, message: str) -> None:
        """Raise CheckFailed with the message unless `ok` is true. For `verify`, and for assumptions in `upgrade`."""
        if not ok:
            raise CheckFailed(message)

    def database(self, name: str) -> AbstractAsyncContextManager[Any]:
        """Open another database: `async with ctx.database("events") as events:`.

        Its connection is shared and counted. What is written there is outside this step's transaction.
        """
        if self._databases is None:
            raise RuntimeError("ctx.database works inside a step")
        return self._databases.open(name)
