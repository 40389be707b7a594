"""`migrator doctor`: can the databases be reached and changed, and do the files form a history?"""

from migrator.config import Config
from migrator.core.errors import MigratorError
from migrator.core.history import History
from migrator.core.protocols import Finding, Findings
from migrator.runtime import directory
from migrator.runtime.connections import Connections


async def examine(name: str, config: Config, connections: Connections) -> Findings:
    """Return the findings for one database; whatever cannot be asked is itself a finding."""
    return [_files(name, config), *await _server(name, connections)]


def _files(name: str, config: Config) -> Finding:
    try:
        revisions = [each for database in config.databases.values() for each in directory.read(database, config.root)]
        history = History(revisions)
    except MigratorError as error:
        return Finding("fail", "revisions", error.message, error.hint)
    heads = history.heads(name)
    text = f"{len(history.of(name))} revisions, head {', '.join(key.id for key in heads) or 'none'}"
    if len(heads) > 1:
        return Finding("warn", "revisions", text, "`migrator new` with one --head for each joins them.")
    return Finding("ok", "revisions", text)


async def _server(name: str, connections: Connections) -> Findings:
    try:
        adapter = await connections.adapter(name)
        found = list(await adapter.examine())
    except MigratorError as error:
        return [Finding("fail", "connection", error.message, error.hint)]
    status = adapter.status()
    return [Finding("ok", "connection", f"{status.host}:{status.port}, database {status.database}"), *found]
