"""`migrator doctor`: can the databases be reached and changed, do the files form a history, and where do they stand?"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from migrator.core.errors import ConfigError, MigratorError
from migrator.core.health import Health, Probe, health
from migrator.core.history import History
from migrator.core.protocols import Adapter, Finding, Findings
from migrator.core.report import UNSEEN, lines_of, script_line
from migrator.core.scripts import Scripts, here
from migrator.core.wording import counted
from migrator.runtime.connections import Connections
from migrator.runtime.reading import state_in, with_edits

LIMIT = 15.0
"""Seconds after which a database counts as silent; all are asked side by side."""


Files = tuple[History, Scripts]
_APPLIED = ("applied", "drifted", "unknown")


async def examine(
    names: Sequence[str], read: Callable[[], Files], connections: Connections, environment: str
) -> Health:
    """Return how well these databases are; whatever cannot be asked or read is itself a finding."""
    try:
        files: Files | MigratorError = read()
    except MigratorError as error:
        files = error
    probes = await asyncio.gather(*(_probe(name, files, connections, environment) for name in names))
    if not isinstance(files, MigratorError):
        probes = [_with_lost(probe, probes, files[0]) for probe in probes]
    return health(probes, datetime.now(UTC))


def _with_lost(probe: Probe, probes: Sequence[Probe], history: History) -> Probe:
    """Add a finding for what is applied here and depends on what another database has lost, as after a failover."""
    applied = {each.name: {line.revision for line in each.lines or () if line.state in _APPLIED} for each in probes}
    known = {each.name for each in probes if each.lines is not None}
    for revision in history.of(probe.name):
        for needed in history[revision].depends_on:
            here = revision.id in applied[probe.name]
            if here and needed.database in known and needed.id not in applied[needed.database]:
                text = f"{revision} is applied and depends on {needed}, which is not applied"
                hint = (
                    f"If {needed.database} was restored, or lost its last changes in a failover, look at what else it "
                    f"lost; `migrator upgrade {needed}` applies it again."
                )
                return replace(probe, findings=[*probe.findings, Finding("warn", "depends_on", text, hint)])
    return probe


async def _probe(name: str, files: Files | MigratorError, connections: Connections, environment: str) -> Probe:
    of_files = _of_files(name, files)
    try:
        async with asyncio.timeout(LIMIT):
            adapter = await connections.adapter(name)
            found = [of_files, *_connected(adapter, await adapter.examine()), *await _compared(name, connections)]
            if isinstance(files, MigratorError) or any(each.subject == "connection" for each in found if _fails(each)):
                return Probe(name, found)
            return await _with_state(Probe(name, found), adapter, files, environment)
    except MigratorError as error:
        return Probe(name, [of_files, Finding("fail", "connection", error.message, error.hint)])
    except TimeoutError:
        text = f"no answer in {LIMIT:g} s"
        return Probe(name, [of_files, Finding("fail", "connection", text, "Look at the server and the way to it.")])


async def _with_state(probe: Probe, adapter: Adapter, files: Files, environment: str) -> Probe:
    """Read where the revisions stand, but for those of other environments, and who holds the lock."""
    try:
        async with adapter.session() as session:
            trackers = {probe.name: session.tracker}
            state = await with_edits(await state_in(session.tracker), [*files[0], *files[1]], trackers)
            holder = None if session.follower else await session.lock.holder()
            seen = UNSEEN if session.follower else holder
    except MigratorError as error:
        return Probe(probe.name, [*probe.findings, Finding("fail", "state", error.message, error.hint)])
    history, scripts = files
    elsewhere = {each.id for each in history if each.database == probe.name and not here(each, environment)}
    lines = lines_of(history, state, probe.name, seen)
    ours = tuple(line for line in lines if line.state not in ("pending", "failed") or line.revision not in elsewhere)
    beside = tuple(script_line(each, state) for each in scripts if each.database == probe.name)
    return Probe(probe.name, probe.findings, ours, holder, beside)


async def _compared(name: str, connections: Connections) -> Findings:
    """Say whether `url` and `direct_url` lead to one database."""
    try:
        reason = await connections.refuse_another(name)
    except ConfigError as error:
        return [Finding("fail", "direct_url", error.message, error.hint)]
    hint = "Check that url and direct_url lead to one database."
    return [Finding("warn", "direct_url", f"could not be compared with url: {reason}", hint)] if reason else []


def _of_files(name: str, files: Files | MigratorError) -> Finding:
    if isinstance(files, MigratorError):
        return Finding("fail", "revisions", files.message, files.hint)
    history = files[0]
    heads = history.heads(name)
    text = f"{counted(len(history.of(name)), 'revision')}, head {', '.join(key.id for key in heads) or 'none'}"
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
