"""What every context has, whatever the database."""

from collections.abc import AsyncIterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from migrator.core.errors import CheckFailed, MigratorError, UsageError
from migrator.core.protocols import Databases
from migrator.core.run import Run

if TYPE_CHECKING:
    from logging import Logger

    from migrator.core.batch import Batch, Ledger, Tools, Walk


class ContextBase:
    """The part of a context that needs no driver. `run` is None outside a step.

    `sent` counts the statements, where the adapter sees each of them, and `total` is how many there are, 0 where nobody
    can know. `tools` is what the runtime lends to a step, `lines` are those that the script logged last, while they are
    to be kept beside each statement that commits by itself.
    """

    tools: "Tools | None" = None
    params: Any = None
    lines: "Sequence[str] | None" = None
    logger: "Logger | None" = None

    def __init__(self, run: Run | None, databases: Databases | None) -> None:
        self.run = run
        self.touched = False
        self.escaped = False
        self.checked = False
        self.sent = 0
        self.total = 0
        self._databases = databases

    @property
    def progress(self) -> Mapping[str, Any] | None:
        """Return how far the script has come, for the tracker; None where nothing is known."""
        if not self.sent:
            return None
        return {"statements": self.sent, "of": self.total} if self.total else {"statements": self.sent}

    @property
    def log(self) -> "Logger":
        """The logger of this run: `ctx.log.info("...")`."""
        if self.logger is not None:
            return self.logger
        from logging import getLogger

        return getLogger(f"migrator.script.{self.run.revision}" if self.run else "migrator.script")

    def explain(self, error: Exception) -> MigratorError | None:
        """Return what a driver's error means, None where it is none of a driver's."""
        del error
        return None

    def check(self, ok: object, message: str) -> None:
        """Raise CheckFailed with the message unless `ok` is true. For `verify`, and for assumptions in `upgrade`.

        What has to be awaited is refused: it would be true whatever the answer.
        """
        self.checked = True
        if hasattr(ok, "__await__"):
            getattr(ok, "close", bool)()  # so that Python need not warn of it as well
            raise CheckFailed(f"ctx.check was given {type(ok).__name__} and no answer: write `await` in it ({message})")
        if not ok:
            raise CheckFailed(message)

    def database(self, name: str) -> AbstractAsyncContextManager[Any]:
        """Open another database: `async with ctx.database("events") as events:`.

        Its connection is shared and counted. What is written there is outside this step's transaction.
        """
        if self._databases is None:
            raise RuntimeError("ctx.database works inside a step")
        if self.tools is not None:
            self.tools.opened(name)
        return self._databases.open(name)

    def batches(
        self,
        source: str,
        *,
        key: str | Sequence[str] = (),
        where: Any = None,
        name: str = "",
        target: float = 0.5,
        max_rows: int = 100_000,
        max_bytes: int = 8 << 20,
        max_rows_per_second: float = 0.0,
        on_error: str = "stop",
        throttle: Mapping[str, Any] | None = None,
        workers: int = 1,
    ) -> "AsyncIterable[Batch]":
        """Walk over a table or collection in short transactions, each committed together with its checkpoint.

        `key` names the columns of a unique key, by default the primary key; the walk ends at the last key there is when
        it first begins. `where` (SQL, or a filter) narrows `batch.where` and `batch.rows()`, not the walk. `target` is
        the seconds that a batch should take; `on_error` is "stop" or "skip" for a row that cannot be changed.
        `throttle` says what holds the walk back (`core.throttle.Throttle`), over what migrator.toml says. With several
        `workers` the keys are cut into slices that run side by side; then this function changes the database inside of
        batches only.
        Raises UsageError outside an upgrade or downgrade that names it, and where there is no such key.
        """
        if self.tools is None:
            raise UsageError(
                "ctx.batches works in an upgrade() or downgrade() that names it itself",
                hint="Write `async for batch in ctx.batches(...)` in that function; a function that it calls may do "
                "the work of a batch, and a verify only reads.",
            )
        walk, ledger = self.walk(source, (key,) if isinstance(key, str) else tuple(key), where)
        from migrator.core.batch import Settings

        settings = Settings(target, max_rows, max_bytes, max_rows_per_second)
        given = throttle or {}
        return self.tools.batches(
            walk, ledger, name=name, settings=settings, on_error=on_error, throttle=given, workers=workers
        )

    async def only_read(self) -> None:
        """From here on refuse what would be written outside of a batch, where the database can."""

    def walk(self, source: str, key: tuple[str, ...], where: Any) -> "tuple[Walk, Ledger]":
        """Return the way along a table, and where its checkpoints are kept."""
        del source, key, where
        raise UsageError("this kind of database has no batches")
