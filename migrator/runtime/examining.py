"""`migrator doctor`: can the databases be reached and changed, do the files form a history, and where do they stand?"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from migrator.config import Config
from migrator.core.errors import MigratorError
from migrator.core.health import Health, Probe, health
from migrator.core.history import History
from migrator.core.protocols import Adapter, Finding, Findings
from migrator.core.report import lines_of
from migrator.core.run import state_of
from migrator.runtime import directory
from migrator.runtime.connections import Connections

LIMIT = 15.0
"""Seconds after which a database counts as silent; all are asked side by side."""


async def examine(names: Sequence[str], config: Config, connections: Connections) -> Health:
    """Return how well these databases are; whatever cannot be asked is itself a finding."""
    files = _files(config)
    probes = await asyncio.gather(*(_probe(name, files, connections) for name in names))
    return health(probes, datetime.now(UTC))


def _files(config: Config) -> History | MigratorError:
    try:
        return History([each for name in config.databases.values() for each in directory.read(name, config.root)])
    except MigratorError as error:
        return error


async def _probe(name: str, files: History | MigratorError, connections: Connections) -> Probe:
    of_files = _of_files(name, files)
    try:
        async with asyncio.timeout(LIMIT):
            adapter = await connections.adapter(name)
            found = [of_files, *_connected(adapter, await adapter.examine())]
            if isinstance(files, MigratorError) or any(each.subject == "connection" for each in found if _fails(each)):
                return Probe(name, found)
            return await _with_state(Probe(name, found), adapter, files)
    except MigratorError as error:
        return Probe(name, [of_files, Finding("fail", "connection", error.message, error.hint)])
    except TimeoutError:
        text = f"no answer in {LIMIT:g} s"
        return Probe(name, [of_files, Finding("fail", "connection", text, "Look at the server and the way to it.")])


async def _with_state(probe: Probe, adapter: Adapter, history: History) -> Probe:
    """Read where the revisions stand, and who holds the lock."""
    try:
        async with adapter.session() as session:
            state = state_of(await session.tracker.runs())
            holder = await session.lock.holder()
    except MigratorError as error:
        return Probe(probe.name, [*probe.findings, Finding("fail", "state", error.message, error.hint)])
    return Probe(probe.name, probe.findings, lines_of(history, state, probe.name, holder), holder)


def _of_files(name: str, files: History | MigratorError) -> Finding:
    if isinstance(files, MigratorError):
        return Finding("fail", "revisions", files.message, files.hint)
    heads = files.heads(name)
    text = f"{len(files.of(name))} revisions, head {', '.join(key.id for key in heads) or 'none'}"
    if len(heads) > 1:
        return Finding("warn", "revisions", text, "`migrator new` with one --head for each joins them.")
    return Finding("ok", "revisions", text)


def _connected(adapter: Adapter, found: Findings) -> Findings:
    if any(each.subject == "connection" for each in found):
        return found
    status = adapter.status()
    return [Finding("ok", "connection", f"{status.host}:{status.port}, database {status.database}"), *found]


def _fails(finding: Finding) -> bool:
    return finding.level == "fail"
