"""The Migrator for programs without an event loop, for example at their start."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from migrator.config import Config
from migrator.core.errors import UsageError
from migrator.core.protocols import Notifier
from migrator.runtime.migrator import Migrator

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

P = ParamSpec("P")
T = TypeVar("T")


def _waited(
    method: "Callable[Concatenate[Migrator, P], Coroutine[Any, Any, T]]",
) -> "Callable[Concatenate[BlockingMigrator, P], T]":
    """Return a method of the Migrator as one that waits for its result."""

    def call(self: "BlockingMigrator", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.wait(method(self.migrator, *args, **kwargs))

    call.__name__, call.__doc__ = method.__name__, method.__doc__
    return call


class BlockingMigrator:
    """The same commands as `Migrator`, with the same results and errors, for code that does not await.

    Use it as `with BlockingMigrator() as m: m.upgrade("head")`. UsageError where an event loop runs already.
    """

    def __init__(self, config: Config | None = None, notifiers: Iterable[Notifier] = ()) -> None:
        self._config = config
        self._notifiers = notifiers
        self._open = AsyncExitStack()
        self._runner: asyncio.Runner | None = None
        self._migrator: Migrator | None = None

    def __enter__(self) -> Self:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._runner = asyncio.Runner()
            opened = self._open.enter_async_context(Migrator.open(self._config, self._notifiers))
            self._migrator = self.wait(opened)
            return self
        raise UsageError(
            "BlockingMigrator would stop the event loop that runs here",
            hint='Write `async with Migrator.open() as m: await m.upgrade("head")`.',
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            try:
                self.wait(self._open.__aexit__(kind, error, trace))
            finally:
                self._runner.close()

    @property
    def migrator(self) -> Migrator:
        """The open Migrator. UsageError outside `with`."""
        if self._migrator is None:
            raise UsageError("the BlockingMigrator is not open", hint="Use it in a `with` block.")
        return self._migrator

    def wait(self, work: "Coroutine[Any, Any, T]") -> T:
        """Run one coroutine to its end."""
        if self._runner is None:
            work.close()
            raise UsageError("the BlockingMigrator is not open", hint="Use it in a `with` block.")
        return self._runner.run(work)

    upgrade = _waited(Migrator.upgrade)
    downgrade = _waited(Migrator.downgrade)
    stamp = _waited(Migrator.stamp)
    run = _waited(Migrator.run)
    status = _waited(Migrator.status)
    verify = _waited(Migrator.verify)
