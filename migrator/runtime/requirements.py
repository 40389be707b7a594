"""What revisions need beside their database, looked at before the first of them starts."""

import asyncio
from collections.abc import Sequence
from urllib.error import URLError
from urllib.request import Request, urlopen

from migrator import config
from migrator.core.errors import ConfigError, DependencyMissing, MigratorError
from migrator.core.revision import Revision
from migrator.runtime.connections import Connections

LIMIT = 5.0
"""Seconds that a health page may take."""

FIRST_BAD = 400


async def refuse_missing(revisions: Sequence[Revision], connections: Connections) -> None:
    """Raise DependencyMissing with everything that is missing, all at once."""
    needs = dict.fromkeys(need for each in revisions for need in each.header.requires)
    answers = await asyncio.gather(*(_problem(need, connections) for need in needs))
    found = {need: text for need, text in zip(needs, answers, strict=True) if text}
    if not found:
        return
    by = {need: [str(each.key) for each in revisions if need in each.header.requires] for need in found}
    listed = "; ".join(f"{need} ({', '.join(by[need])}): {text}" for need, text in found.items())
    raise DependencyMissing(
        f"not there: {listed}",
        state="Nothing was changed.",
        hint="Provide what is missing, then run the command again.",
    )


async def _problem(need: str, connections: Connections) -> str:
    """Return what is wrong with one requirement, "" where nothing is."""
    kind, _, name = need.partition(":")
    if kind == "env":
        return "" if config.is_set(name) else "the environment variable is not set"
    if kind in ("http", "https"):
        return await asyncio.to_thread(_page, need)
    try:
        adapter = await connections.adapter(name)
        if adapter.kind != kind:
            return f"{name} is a {adapter.kind} database"
        async with adapter.session():
            return ""
    except (ConfigError, MigratorError) as error:
        return error.message


def _page(address: str) -> str:
    try:
        with urlopen(Request(address, method="GET"), timeout=LIMIT) as answer:  # noqa: S310 - http and https only
            return "" if answer.status < FIRST_BAD else f"answers with {answer.status}"
    except URLError as error:
        return f"does not answer: {error.reason}"
    except (OSError, ValueError) as error:
        return f"does not answer: {type(error).__name__}"
