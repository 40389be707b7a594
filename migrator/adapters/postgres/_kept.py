"""What is kept of long changes beside the tracker, as rows and as values."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._queries import Queries, decoded
from migrator.core.batch import Checkpoint, Control, Desired, FailedRow, Position

_JSON = ("low", "high", "cursor", "throttled")
_PLACES = ("low", "high", "cursor")


async def control(link: Link, queries: Queries, origin: str) -> Control:
    """Return what people want of a long change."""
    text = queries.text("control", {"origin": origin})
    for row in await link.fetch(text, (), "read what is asked of the change", limit=LIMIT):
        return Control(Desired(row["desired"]), row["by"], row["reason"], decoded(row["settings"]), row["at"])
    return Control()


def values_of(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return a checkpoint as the values of its statements."""
    return {**vars(checkpoint), **{name: place(getattr(checkpoint, name)) for name in _PLACES}}


def place(position: Position | None) -> str | None:
    """Return a position as JSON."""
    return None if position is None else json.dumps(list(position))


def checkpoint_of(row: Any) -> Checkpoint:
    """Return a row as a checkpoint."""
    values = {each.name: row[each.name] for each in fields(Checkpoint)}
    for name in _JSON:
        values[name] = decoded(values[name])
    for name in _PLACES:
        values[name] = None if values[name] is None else tuple(values[name])
    return Checkpoint(**values)


def failed_of(row: Any) -> FailedRow:
    """Return a row as a row that was passed over."""
    return FailedRow(row["name"], tuple(decoded(row["key"])), row["run_id"], row["error"], row["at"])
