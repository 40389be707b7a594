"""A change in a thread of its own, with an event loop and connections of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Thread
from typing import Any

from migrator.config import Config
from migrator.notifiers.log import Log
from migrator.runtime.migrator import Migrator

Work = Callable[[Migrator], Awaitable[Any]]
"""Does something with a Migrator and returns what becomes the `result` of an entry: a value for `plain`."""


class Job:
    """Begins at once, for the event loop that made it. `actor` is the person for whom it works."""

    def __init__(self, config: Config, work: Work, actor: str = "") -> None:
        self._config, self._work, self._actor = config, work, actor
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False
        self._home = asyncio.get_running_loop()
        self._outcome: asyncio.Future[Any] = self._home.create_future()
        Thread(target=self._run, name="change", daemon=True).start()

    async def done(self) -> Any:
        """Wait for its end, and return what it returned or raise what it raised."""
        return await self._outcome

    def cancel(self) -> None:
        """End it as Ctrl-C would: it rolls back, and says in the tracker what it left."""
        self._cancelled = True
        loop, task = self._loop, self._task
        if loop is not None and task is not None:
            with suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(task.cancel)

    def _run(self) -> None:
        try:
            result = asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - every end is an end of the job
            self._tell(error, None)
        else:
            self._tell(None, result)

    async def _main(self) -> Any:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._cancelled:
            raise asyncio.CancelledError
        async with Migrator.open(self._config, [Log()], actor=self._actor) as migrator:
            return await self._work(migrator)

    def _tell(self, error: BaseException | None, result: Any) -> None:
        def tell() -> None:
            if not self._outcome.done():
                if error is None:
                    self._outcome.set_result(result)
                elif isinstance(error, Exception):
                    self._outcome.set_exception(error)
                else:
                    self._outcome.cancel()

        with suppress(RuntimeError):  # the server has gone
            self._home.call_soon_threadsafe(tell)
