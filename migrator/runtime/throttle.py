"""Looks at what may hold a long change back, beside its loop: the loop reads the last word and never waits for one."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from datetime import UTC, datetime

from migrator.core.errors import ConnectionFailed, ConnectionLost, PermissionDenied
from migrator.core.protocols import Adapter
from migrator.core.throttle import (
    APART,
    STALE,
    Reading,
    Signals,
    Throttle,
    aged,
    lagging,
    probed,
    queried,
    reason,
    unreadable,
    waiting,
)
from migrator.runtime.stopping import Stop

INTERVAL = 1.0
"""Seconds between two looks."""

PROBE = 5.0
"""Seconds that an HTTP probe may be silent."""

_NO_HEAD = (405, 501)
"""Answers of a server that knows no HEAD."""


def _utc() -> datetime:
    return datetime.now(UTC)


class Watch:
    """The signals of one loop, read each `interval` seconds; a reading older than `stale` seconds holds the loop back.

    `tell` hears, once for each, of signals that this user may not see and that are off from then on.
    """

    def __init__(
        self,
        throttle: Throttle,
        adapter: Adapter,
        tell: Callable[[str], None],
        *,
        interval: float = INTERVAL,
        stale: float = STALE,
        clock: Callable[[], datetime] = _utc,
    ) -> None:
        self._throttle = throttle
        self._adapter = adapter
        self._tell = tell
        self._interval = interval
        self._stale = stale
        self._clock = clock
        self._names = [name for name in throttle.names if name != "window"]
        self._readings: dict[str, Reading] = {}
        self._complete = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def reason(self) -> str:
        """Return why the work is to stand still now, "" where nothing is against it."""
        outside = self._throttle.window.closed(self._clock()) if self._throttle.window else ""
        return f"window: {outside}" if outside else reason(self._readings, self._names, time.monotonic(), self._stale)

    async def start(self) -> None:
        """Begin to look, and return when every signal was read once: no batch runs before that."""
        watching = [self._watch_server()] if self._of_server() else []
        if self._throttle.http:
            watching.append(self._watch_http(self._throttle.http))
        # A context of its own: pymongo keeps the loop's session and time limit in the context that tasks inherit.
        self._tasks = [asyncio.create_task(each, context=Context()) for each in watching]
        if self._tasks:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._stale):
                    await self._complete.wait()

    async def stop(self) -> None:
        """Look no more, and let go of the connection."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_server(self) -> None:
        stop = Stop()
        while self._of_server():
            stop.heed()
            try:
                async with self._adapter.signals() as signals:
                    while self._of_server():
                        await self._ask(signals)
                        await asyncio.sleep(self._interval)
            except Exception as error:  # noqa: BLE001 - it is told as the reason, and tried again
                for name in self._of_server():
                    self._note(name, unreadable(name, said(error)))
            await asyncio.sleep(self._interval)

    async def _watch_http(self, url: str) -> None:
        stop = Stop()
        while True:
            stop.heed()
            try:
                why = probed(await asyncio.to_thread(_status, url))
            except Exception as error:  # noqa: BLE001 - the same; the address may be a secret and is not shown
                cause = getattr(error, "reason", error)
                why = unreadable("http", getattr(cause, "strerror", None) or type(cause).__name__)
            self._note("http", why)
            await asyncio.sleep(self._interval)

    async def _ask(self, signals: Signals) -> None:
        for name in self._of_server():
            try:
                why = await self._read(name, signals)
            except (ConnectionLost, ConnectionFailed):
                raise
            except PermissionDenied as error:
                if name == "query":  # somebody wrote it, and relies on it
                    self._note(name, unreadable(name, said(error)))
                else:
                    self._give_up(name, error)
            except Exception as error:  # noqa: BLE001 - the same
                self._note(name, unreadable(name, said(error)))
            else:
                self._note(name, why)

    async def _read(self, name: str, signals: Signals) -> str:
        limit = getattr(self._throttle, name)
        if name == "lag":
            return lagging(await signals.lag(), limit)
        if name == "waiters":
            return waiting(await signals.waiters(), limit)
        if name == "long_transactions":
            return aged(await signals.oldest(), limit)
        return queried(await signals.value(limit))

    def _note(self, name: str, why: str) -> None:
        self._readings[name] = Reading(time.monotonic(), why)
        if self._readings.keys() >= set(self._names):
            self._complete.set()

    def _give_up(self, name: str, error: PermissionDenied) -> None:
        self._names.remove(name)
        self._note(name, "")
        self._tell(f"throttle: {name} is off: {error.message}. {error.hint}")

    def _of_server(self) -> list[str]:
        return [name for name in self._names if name not in APART]


def said(error: Exception) -> str:
    """Return the first line of an error."""
    return (str(error) or type(error).__name__).partition("\n")[0]


def _status(url: str) -> int:
    """Ask an address by HEAD, or by GET where it knows no HEAD, and return the status of the answer."""
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, Request, build_opener

    opener = build_opener(ProxyHandler({}))  # the environment is no place for settings of a throttle
    status = 0
    for method in ("HEAD", "GET"):
        request = Request(url, method=method, headers={"User-Agent": "migrator"})  # noqa: S310 - http and https only
        try:
            with opener.open(request, timeout=PROBE) as answer:
                status = answer.status
        except HTTPError as error:
            with error:
                status = error.code
        if status not in _NO_HEAD:
            break
    return status
