"""The Migrator for programs without an event loop, for example at their start."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from os import PathLike
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, Self, TypeVar

from migrator.config import Config
from migrator.core.errors import UsageError
from migrator.core.protocols import Notifier
from migrator.core.run import Run
from migrator.runtime.control import Controls
from migrator.runtime.migrator import Migrator
from migrator.runtime.past import Past

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

P = ParamSpec("P")
T = TypeVar("T")
Asked = TypeVar("Asked")
Asked_co = TypeVar("Asked_co", covariant=True)


class _Waiting(Generic[Asked_co]):
    """An object whose coroutines are waited for in the event loop of a BlockingMigrator."""

    def __init__(self, owner: "BlockingMigrator", asked: Callable[[], Asked_co]) -> None:
        self._owner = owner
        self._asked = asked


def _waited(
    method: "Callable[Concatenate[Asked, P], Coroutine[Any, Any, T]]",
) -> "Callable[Concatenate[_Waiting[Asked], P], T]":
    """Return a method that waits for its result."""

    def call(self: "_Waiting[Asked]", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._owner.wait(method(self._asked(), *args, **kwargs))

    call.__name__, call.__doc__ = method.__name__, method.__doc__
    return call


class BlockingPast(_Waiting[Past]):
    """The same as `Migrator.past`."""

    runs = _waited(Past.runs)
    run = _waited(Past.run)
    delete = _waited(Past.delete)
    stats = _waited(Past.stats)
    days = _waited(Past.days)
    firings = _waited(Past.firings)
    cleanup = _waited(Past.cleanup)
    cleaners = _waited(Past.cleaners)

    def log(self, run: Run) -> Iterator[str]:
        """Yield the lines of a run's log, oldest first. Raises NoLog, whose text says why there is none."""
        return self._asked().log(run)

    def log_files(self, run: Run) -> list[tuple[str, int]]:
        """Return the files of a run's log with their sizes, newest first; [] where it has none. Raises NoLog."""
        return self._asked().log_files(run)

    def follow(self, run: Run) -> Iterator[str]:
        """Yield the lines of a run's log, and those that come, until it is over: ended or interrupted. Raises NoLog.

        Other threads are served between two lines.
        """
        lines = self._asked().follow(run)

        async def following() -> str | None:
            return await anext(lines, None)

        while (line := self._owner.wait(following())) is not None:
            yield line


class BlockingControls(_Waiting[Controls]):
    """The same as `Migrator.controls`."""

    changes = _waited(Controls.changes)
    of = _waited(Controls.of)
    failures = _waited(Controls.failures)
    pause = _waited(Controls.pause)
    resume = _waited(Controls.resume)
    cancel = _waited(Controls.cancel)
    tune = _waited(Controls.tune)


class BlockingMigrator(_Waiting[Migrator]):
    """The same commands as `Migrator`, with the same results and errors, for code that does not await.

    Use it as `with BlockingMigrator() as m: m.upgrade("head")`. Threads may share one: their calls run one after
    another. UsageError, before anything begins, where an event loop runs already or it is not open.
    """

    def __init__(
        self,
        config: Config | None = None,
        notifiers: Iterable[Notifier] = (),
        *,
        url: str = "",
        revisions: str | PathLike[str] = "revisions",
        actor: str = "",
    ) -> None:
        super().__init__(self, lambda: self.migrator)
        self._opened = partial(Migrator.open, config, notifiers, url=url, revisions=revisions, actor=actor)
        self._turn = Lock()
        self._open = AsyncExitStack()
        self._runner: asyncio.Runner | None = None
        self._migrator: Migrator | None = None

    def __enter__(self) -> Self:
        if self._runner is not None:
            raise UsageError("the BlockingMigrator is open already", hint="Make another one.")
        _refuse_inside_a_loop()
        self._open, self._runner = AsyncExitStack(), asyncio.Runner()
        try:
            self._migrator = self.wait(self._open.enter_async_context(self._opened()))
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait(self._open.__aexit__(kind, error, trace))
        finally:
            self._close()

    def _close(self) -> None:
        with self._turn:
            runner, self._runner, self._migrator = self._runner, None, None
            if runner is not None:
                runner.close()

    @property
    def migrator(self) -> Migrator:
        """The open Migrator. UsageError outside `with`."""
        if self._migrator is None:
            raise _closed()
        return self._migrator

    @property
    def past(self) -> BlockingPast:
        """What was done to the databases: runs, their logs, statistics, and cleaning up."""
        return BlockingPast(self, lambda: self.migrator.past)

    @property
    def controls(self) -> BlockingControls:
        """The long changes that run or stopped on their way, and what can be asked of them without a lock."""
        return BlockingControls(self, lambda: self.migrator.controls)

    def wait(self, work: "Coroutine[Any, Any, T]") -> T:
        """Run one coroutine to its end, when the calls of other threads have ended."""
        try:
            _refuse_inside_a_loop()
            with self._turn:
                if self._runner is None:
                    raise _closed()
                return self._runner.run(work)
        finally:
            work.close()  # where it was refused; else it has ended

    upgrade = _waited(Migrator.upgrade)
    start_up = _waited(Migrator.start_up)
    downgrade = _waited(Migrator.downgrade)
    stamp = _waited(Migrator.stamp)
    run = _waited(Migrator.run)
    verify = _waited(Migrator.verify)
    resolve = _waited(Migrator.resolve)
    retry_failed = _waited(Migrator.retry_failed)
    status = _waited(Migrator.status)
    history = _waited(Migrator.history)
    scripts = _waited(Migrator.scripts)
    show = _waited(Migrator.show)
    unlock = _waited(Migrator.unlock)
    doctor = _waited(Migrator.doctor)


def _refuse_inside_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        "BlockingMigrator would stop the event loop that runs here",
        state="Nothing was changed.",
        hint='Write `async with Migrator.open() as m: await m.upgrade("head")`.',
    )


def _closed() -> UsageError:
    return UsageError(
        "the BlockingMigrator is not open",
        state="Nothing was changed.",
        hint='Use it in a block: `with BlockingMigrator() as m: m.upgrade("head")`.',
    )
