"""Slices on a Dask cluster. A worker gets ids and a checksum, never code: it loads the revision from its own checkout.

Dask begins a slice again elsewhere when its worker dies; the checkpoint says where it continues. A worker that was only
silent and comes back, or whose run has ended meanwhile, finds the checkpoint taken away, and writes nothing.
"""

import asyncio
import logging
import pickle
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from contextvars import copy_context
from dataclasses import replace
from itertools import count
from typing import Any

from migrator.config import Config, load
from migrator.core.errors import ConnectionFailed, ConnectionLost, DependencyMissing, Drifted, MigratorError
from migrator.core.revision import Direction
from migrator.core.run import Run
from migrator.runtime import directory
from migrator.runtime.batches import Around
from migrator.runtime.connections import Connections
from migrator.runtime.failures import said
from migrator.runtime.params import Params, arrived, portable
from migrator.runtime.runlog import relayed
from migrator.runtime.slices import Place, Work, here, perform
from migrator.runtime.stopping import Stop

RETRIES = 3
"""How often a slice whose worker lost its database is begun again, perhaps by another worker."""

CONNECT = 10.0
"""Seconds in which the scheduler must answer."""

LOOK = 1.0
"""Seconds between two looks at whether there is a worker."""

NOBODY = 30.0
"""Seconds for which a cluster may have no worker: those that grow on demand begin with none."""


def on_cluster(config: Config) -> Place:
    """Return what runs slices on the cluster of `[execution]`. Raises DependencyMissing where Dask is not there."""
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise DependencyMissing(
            "the engine dask needs the extra `dask`", hint="Install polymigrator[dask], or leave [execution] out."
        ) from error
    address = config.execution.address

    @asynccontextmanager
    async def place(around: Around, workers: int) -> AsyncIterator[Work]:
        del workers  # the cluster has as many as it has
        try:
            client = await distributed.Client(address, asynchronous=True, timeout=CONNECT)  # type: ignore[no-untyped-call]
        except (OSError, TimeoutError) as error:
            raise ConnectionFailed(
                f"the Dask scheduler at {address} does not answer",
                hint="Is it running? `[execution] address` in migrator.toml says where it is.",
            ) from error
        try:
            yield _Cluster(client, config, around).work
        finally:
            with suppress(Exception):  # it must not take the place of what ended the slices
                await client.close()

    return place


class _Cluster:
    """One long change on a cluster, over one connection to its scheduler."""

    def __init__(self, client: Any, config: Config, around: Around) -> None:
        self._client = client
        self._config = config
        self._around = around
        self._address = config.execution.address
        self._seen = time.monotonic()
        self._gone = self._told = False
        self._topic = f"migrator-{around.run.run_id}"
        client.subscribe_topic(self._topic, _repeater())

    async def work(self, name: str, number: int, parts: int) -> None:
        """Run one slice in a worker; begin it again where its worker lost the database."""
        for attempt in count(1):
            try:
                await self._once(name, number, parts, attempt)
            except (ConnectionLost, ConnectionFailed):
                if attempt > RETRIES or self._gone:
                    raise
            else:
                return

    async def _once(self, name: str, number: int, parts: int, attempt: int) -> None:
        run, params = self._around.run, portable(self._around.params)
        words = (self._config.file, run.as_dict(), params, name, number, parts, self._topic)
        key = f"{run.run_id}-{name}-{number}-{attempt}"
        future = self._client.submit(slice_of_a_run, *words, pure=False, retries=0, key=key)
        waiting = asyncio.ensure_future(future.result())
        try:
            while not waiting.done():
                await asyncio.wait([waiting], timeout=LOOK)
                await self._need_worker(waiting)
            waiting.result()
        except BaseException as error:
            waiting.cancel()
            with suppress(Exception):
                async with asyncio.timeout(LOOK):
                    await future.cancel()
            known = self._explained(error, name, number)
            if known is None:
                raise
            raise known from error

    async def _need_worker(self, waiting: "asyncio.Future[Any]") -> None:
        """Raise ConnectionFailed where the cluster has had no worker for too long."""
        with suppress(OSError, TimeoutError):  # whether the scheduler is gone is said by the future
            async with asyncio.timeout(CONNECT):
                if waiting.done() or await self._client.nthreads():
                    self._seen, self._told = time.monotonic(), False
                    return
            if time.monotonic() - self._seen > NOBODY:
                self._gone = True
                raise ConnectionFailed(
                    f"the Dask scheduler at {self._address} has no worker",
                    hint="Start one: `dask worker` with the same address, release and extras as here.",
                )
            if not self._told:
                self._told = True
                log = logging.getLogger(f"migrator.script.{self._around.run.revision}")
                log.warning("the Dask scheduler at %s has no worker; waiting for one", self._address)

    def _explained(self, error: BaseException, name: str, number: int) -> MigratorError | None:
        """Return what Dask's own errors mean, None for what the slice itself raised."""
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        if isinstance(error, CancelledError | OSError) and self._client.status != "running":
            self._gone = True
            return ConnectionFailed(
                f"the Dask scheduler at {self._address} is gone",
                hint="Start it, and its workers, then run the command again.",
            )
        if isinstance(error, KilledWorker):
            return ConnectionLost(
                f"slice {number} of {name} was begun on several workers, and each of them died",
                hint="Their logs say why; too little memory is the usual reason.",
            )
        return None


def _repeater() -> Callable[[tuple[float, Any]], None]:
    """Return what says here, in the log of the run that is open in this task, what a slice has logged elsewhere."""
    context = copy_context()

    def repeat(event: tuple[float, Any]) -> None:
        name, level, text = event[1]
        logger = logging.getLogger(name)
        if logger.isEnabledFor(level):
            context.run(logger.handle, logging.LogRecord(name, level, "", 0, "%s", (text,), None))

    return repeat


class _Relay:
    """Hears what a slice logs in a worker, and tells the command's own process, without secrets."""

    def __init__(self, topic: str, config: Config) -> None:
        from distributed import get_worker

        self._worker = get_worker()
        self._topic = topic
        self._mask = config.mask()

    def hear(self, record: logging.LogRecord) -> None:
        """Send one record."""
        text = self._mask(record.getMessage())
        if record.exc_info:
            text += "\n" + self._mask(logging.Formatter().formatException(record.exc_info))
        with suppress(Exception):
            self._worker.log_event(self._topic, (record.name, record.levelno, text))


def slice_of_a_run(
    path: str | None, run: dict[str, Any], params: Params, name: str, number: int, parts: int, topic: str = ""
) -> None:
    """Run one slice in a worker. Raises what can be taken to another process, each error as what it is.

    What the slice logs is told to those who listen to the `topic` of the cluster.
    """
    config = load(path)
    config.mask().learn(params.secrets)
    try:
        with relayed(_Relay(topic, config)) if topic else nullcontext():
            asyncio.run(_slice(config, _run(run), params, name, number, parts))
    except Exception as error:
        if not _travels(error):
            raise MigratorError(said(error, run["path"])) from None
        raise


async def _slice(config: Config, run: Run, params: Params, name: str, number: int, parts: int) -> None:
    config.find_modules()
    database = config.database(run.database)
    found = [each for each in directory.read(database, config.root) if each.id == run.revision]
    if not found or found[0].checksum != run.checksum:
        raise Drifted(
            f"the worker's checkout has another text of {run.key}",
            state="Nothing was changed by this worker.",
            hint="Deploy the same release to the workers as here.",
        )
    (revision,) = found
    connections = Connections(config)
    try:
        adapter = await connections.adapter(run.database)
        script = directory.load(revision, adapter.capabilities)
        function = script.function(run.direction)
        if function is None:
            raise MigratorError(f"{run.key} has no {run.direction}")
        run = replace(run, source=revision.source)
        async with adapter.session() as session, session.step(run, timeout=0.0, databases=connections) as context:
            around = Around(
                run=run,
                publish=lambda _: None,
                mask=config.mask(),
                databases=connections,
                adapter=adapter,
                lock=session.lock,
                throttle=database.throttle,
                rerunnable=revision.header.rerunnable,
                failures=session.tracker.failures,
                kept=session.tracker.checkpoints,
                function=function,
                context=context,
                params=arrived(script, params),
                work=lambda: here,
                stop=Stop(),
            )
            await perform(around, context, name, number, parts)
    finally:
        await connections.close()


def _run(values: dict[str, Any]) -> Run:
    return Run(**{**values, "direction": Direction(values["direction"])})


def _travels(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - a class of the revision's own file, an argument that cannot be written
        return False
    return True
