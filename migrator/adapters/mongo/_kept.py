"""What is kept of long changes beside the tracker, as documents and as values."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from migrator.adapters.mongo._rows import iso
from migrator.core.batch import Checkpoint, Control, Desired, FailedRow, Position

_PLACES = ("low", "high", "cursor")
_KEY = ("origin", "name", "slice")


def key_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the id of a checkpoint's document."""
    return {name: getattr(checkpoint, name) for name in _KEY}


def values_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint as the fields of its document."""
    places = {name: place(getattr(checkpoint, name)) for name in _PLACES}
    return {**vars(checkpoint), **places, "throttled": dict(checkpoint.throttled)}


def place(position: Position | None) -> list[Any] | None:
    """Return a position as it is stored: its values keep their types."""
    return None if position is None else list(position)


def checkpoint_of(row: Mapping[str, Any]) -> Checkpoint:
    """Return a document as a checkpoint."""
    values = {each.name: row[each.name] for each in fields(Checkpoint)}
    for name in _PLACES:
        values[name] = None if values[name] is None else tuple(values[name])
    return Checkpoint(**values)


def control_of(row: Mapping[str, Any] | None) -> Control:
    """Return a document as what people want; None is that nobody has said anything."""
    if row is None:
        return Control()
    at = f"{row['at']:%Y-%m-%dT%H:%M:%SZ}"
    return Control(Desired(row["desired"]), row["by"], row["reason"], row["settings"], at)


def asked_of(control: Control) -> dict[str, Any]:
    """Return what people want as the fields of its document, but for the time, which is the server's."""
    values = {"by": control.by, "reason": control.reason, "settings": dict(control.settings)}
    return {"desired": control.desired.value, **values}


def failed_of(row: Mapping[str, Any]) -> FailedRow:
    """Return a document as a row that was passed over."""
    return FailedRow(row["name"], tuple(row["key"]), row["run_id"], row["error"], iso(row["at"]))
