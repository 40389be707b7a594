"""A row of the tracker as a run, and a filter of runs as the values of its query."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from migrator.adapters.postgres._queries import decoded
from migrator.core.revision import Direction
from migrator.core.run import COLUMNS, Effect, Kind, Run, Status
from migrator.core.runs import RunFilter

if TYPE_CHECKING:
    from migrator.core.stats import Total

_JSON = ("params", "progress", "cursor", "result")
_TIMES = ("started_at", "finished_at")
_WORDS: Mapping[str, type[Status | Effect | Kind | Direction]] = {
    "status": Status,
    "effect": Effect,
    "kind": Kind,
    "direction": Direction,
}
_TIME = """pg_catalog.to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS {0}"""


def selected(columns: Sequence[str]) -> str:
    """Return the list of a SELECT; names that are no columns are left out, the id is always there."""
    wanted = [name for name in COLUMNS if name in columns or name == "run_id"]
    return ", ".join(_TIME.format(name) if name in _TIMES else f'"{name}"' for name in wanted)


def asked(wanted: RunFilter, after: str, limit: int) -> dict[str, Any]:
    """Return the values of the query `page`; None is what may be anything."""
    return {
        "after": after or None,
        "limit": limit,
        "run": _beginning(wanted.run),
        "ids": None if wanted.ids is None else list(wanted.ids),
        "script": _beginning(wanted.script),
        "statuses": sorted(str(each) for each in wanted.statuses) or None,
        "direction": wanted.direction,
        "user": wanted.user or None,
        "host": wanted.host or None,
        "since": wanted.since or None,
        "until": wanted.until or None,
    }


def run_of(database: str, row: Any) -> Run:
    """Return a row as a run; the columns that were not read keep their defaults."""
    values = dict(row)
    values.setdefault("revision", "")
    for name, value in values.items():
        if name in _JSON:
            values[name] = decoded(value)
        elif name in _WORDS:
            values[name] = _WORDS[name](value)
        elif name in _TIMES:
            values[name] = value or ""
    return Run(database=database, **values)


def total_of(row: Any) -> "Total":
    """Return a row of the query `totals`."""
    from migrator.core.stats import Total

    values = dict(row)
    return Total(**{**values, "kind": Kind(values["kind"]), "status": Status(values["status"])})


def _beginning(text: str) -> str | None:
    """Return the LIKE pattern of what begins so."""
    for sign in ("\\", "%", "_"):
        text = text.replace(sign, f"\\{sign}")
    return f"{text}%" if text else None
