"""Slices on a Dask cluster. A worker gets ids and a checksum, never code: it loads the revision from its own checkout.

Dask begins a slice again elsewhere when its worker dies; the checkpoint says where it goes on. A worker that was only
silent and comes back finds the checkpoint moved, and writes nothing.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

from migrator.config import Config, load
from migrator.core.errors import ConfigError, ConnectionFailed, DependencyMissing, Drifted, MigratorError, RowFailed
from migrator.core.revision import Direction
from migrator.core.run import Run
from migrator.runtime import directory
from migrator.runtime.batches import Around
from migrator.runtime.connections import Connections
from migrator.runtime.params import read
from migrator.runtime.slices import Work, in_process, perform
from migrator.runtime.stopping import Stop

RETRIES = 3
"""How often a slice whose worker failed is begun again; what is wrong with a row is not tried again."""

CONNECT = 10.0
"""Seconds in which the scheduler must answer."""


def on_cluster(config: Config) -> Work:
    """Return what runs slices on the cluster of `[execution]`. Raises DependencyMissing where Dask is not there."""
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise DependencyMissing(
            "the engine dask needs the extra `dask`", hint="Install polymigrator[dask], or leave [execution] out."
        ) from error

    async def work(around: Around, name: str, number: int, parts: int) -> None:
        words = (config.file, around.run.as_dict(), dict(around.run.params or {}), name, number, parts)
        try:
            client = await distributed.Client(  # type: ignore[no-untyped-call]
                config.execution.address, asynchronous=True, timeout=CONNECT
            )
        except (OSError, TimeoutError) as error:
            raise ConnectionFailed(
                f"the Dask scheduler at {config.execution.address} does not answer",
                hint="Is it running? `[execution] address` in migrator.toml says where it is.",
            ) from error
        async with client:
            future = client.submit(
                slice_of_a_run, *words, pure=False, retries=RETRIES, key=f"{around.run.run_id}-{name}-{number}"
            )
            try:
                said = await future
            except asyncio.CancelledError:
                with suppress(Exception):
                    await future.cancel(force=True)
                raise
        if said:
            raise RowFailed(said["message"], state=said["state"], hint=said["hint"])

    return work


def slice_of_a_run(
    path: str | None, run: dict[str, Any], params: dict[str, Any], name: str, number: int, parts: int
) -> dict[str, str]:
    """Run one slice in a worker; what a person must mend is returned, what may go better elsewhere is raised."""
    try:
        asyncio.run(_slice(load(path), _run(run), params, name, number, parts))
    except (RowFailed, Drifted, ConfigError) as error:
        return {"message": error.message, "state": error.state, "hint": error.hint}
    return {}


async def _slice(config: Config, run: Run, params: dict[str, Any], name: str, number: int, parts: int) -> None:
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
                function=function,
                params=read(revision, script, params).value,
                work=lambda: in_process,
                stop=Stop(),
            )
            await perform(around, context, name, number, parts)
    finally:
        await connections.close()


def _run(values: dict[str, Any]) -> Run:
    return Run(**{**values, "direction": Direction(values["direction"])})
