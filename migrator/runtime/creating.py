"""`migrator new`: the next revision's file."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from migrator import plugins
from migrator.config import Config, Database
from migrator.core.errors import MultipleHeads, UsageError
from migrator.core.history import History
from migrator.core.revision import Key
from migrator.runtime import directory


def create(
    config: Config,
    title: str,
    *,
    databases: Sequence[str] = (),
    sql: bool = False,
    heads: Sequence[str] = (),
    label: str = "",
) -> str:
    """Write a new file and return its path. Raises UsageError, MultipleHeads; then nothing was written."""
    database = _chosen(config, databases)
    history = History(each for one in config.databases.values() for each in directory.read(one, config.root))
    parents = _parents(history, database.name, heads, label)
    name = secrets.token_hex(6)
    adapter = plugins.adapter_of_kind(database.embedded) if database.embedded else plugins.adapter(database.url.scheme)
    if sql and adapter.KIND != "postgres":
        raise UsageError(
            f"`--sql` writes PostgreSQL's SQL, and {database.name} is a {adapter.KIND} database",
            state="Nothing was written.",
            hint="Leave out --sql to write a Python revision.",
        )
    there: dict[str, Any] = {
        "revision": name,
        "title": title,
        "down_revision": tuple(key.id for key in parents),
        "labels": (label,) if label else (),
    }
    if not sql:
        there |= {"adapter": adapter.__name__, "commits_alone": not adapter.CAPABILITIES.transaction_default}
    text = plugins.format_named("sql" if sql else "python").template(**there)
    after = {key.id: history[key].title for key in history.heads(database.name) if key not in parents}
    day = datetime.now(UTC).strftime("%Y_%m_%d")
    file = f"{day}_{name}_{directory.slug(title)}.{'sql' if sql else 'py'}"
    path = directory.write(database, file, text, {**after, name: title})
    return str(path.relative_to(config.root)) if path.is_relative_to(config.root) else str(path)


def _chosen(config: Config, databases: Sequence[str]) -> Database:
    names = databases or tuple(config.databases)
    if len(names) != 1:
        raise UsageError(
            f"a revision belongs to one database, and there are {len(names)}: {', '.join(names)}",
            state="Nothing was changed.",
            hint=f'Say which: `migrator new -d {names[0]} "..."`',
        )
    return config.database(names[0])


def _parents(history: History, database: str, heads: Sequence[str], label: str) -> tuple[Key, ...]:
    found = history.heads(database)
    if heads == ("base",) and label:
        return ()
    chosen = tuple(history.find(head, [database]) for head in heads)
    beside = [key for key in chosen if key not in found]
    if beside and not label:
        raise UsageError(
            f"{beside[0].id} has a child already, so this would make a second head of {database}",
            state="Nothing was changed.",
            hint=f"The head is {', '.join(key.id for key in found)}; a branch on purpose takes --label NAME.",
        )
    if not chosen and len(found) > 1:
        raise MultipleHeads(
            f"{database} has {len(found)} heads: " + ", ".join(f"{key.id} ({history[key].title})" for key in found),
            state="Nothing was changed.",
            hint="Name one with --head, or join them: " + " ".join(f"--head {key.id}" for key in found),
        )
    return chosen or found
