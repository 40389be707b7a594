"""A run as a document, and back; the rules of the collection as the server keeps them."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from migrator.core.revision import Direction
from migrator.core.run import COLUMNS, Effect, Kind, Run, Status
from migrator.core.runs import RunFilter, time_of
from migrator.core.schedule import Firing

if TYPE_CHECKING:
    from migrator.core.stats import Total

TRACKER = "script_run_tracker"
LOCK = "script_run_lock"
SCHEDULE = "script_run_schedule"
AUDIT, TOKENS = "script_run_audit", "script_run_token"
"""Of the HTTP API."""
CHECKPOINTS, CONTROLS, FAILURES = "script_run_checkpoint", "script_run_control", "script_run_failures"
"""Of long changes."""
COLLECTIONS = (TRACKER, LOCK, CHECKPOINTS, CONTROLS, FAILURES, SCHEDULE, AUDIT, TOKENS)
"""Every collection that migrator creates."""
FIRST = {LOCK: "migrator_lock", SCHEDULE: "script_schedule", AUDIT: "script_audit", TOKENS: "script_token"}
"""What version 1 called some of them."""
VERSION = 2
"""The version of the tracker's form. A greater one in the database belongs to a newer migrator."""

VALIDATOR: Mapping[str, Any] = {
    "$jsonSchema": {
        "bsonType": "object",
        "required": ["_id", "seq", "revision", "direction", "status", "effect", "fence", "superseded_by"],
        "properties": {
            "_id": {"bsonType": "string"},
            "seq": {"bsonType": ["int", "long"]},
            "revision": {"bsonType": "string"},
            "kind": {"enum": [each.value for each in Kind]},
            "direction": {"enum": [each.value for each in Direction]},
            "status": {"enum": [each.value for each in Status]},
            "effect": {"enum": [each.value for each in Effect]},
            "fence": {"bsonType": ["int", "long"]},
            "superseded_by": {"bsonType": "string"},
            "started_at": {"bsonType": "date"},
            "finished_at": {"bsonType": ["date", "null"]},
        },
    }
}

_TIMES = frozenset({"started_at", "finished_at"})
_ENUMS: Mapping[str, type[Status | Effect | Kind | Direction]] = {
    "status": Status,
    "effect": Effect,
    "kind": Kind,
    "direction": Direction,
}


def document(run: Run, seq: int) -> dict[str, Any]:
    """Return the run as it is inserted; its times are the server's business."""
    row = {name: _plain(getattr(run, name)) for name in COLUMNS if name not in _TIMES and name != "run_id"}
    return {"_id": run.run_id, "seq": seq, "lane": run.lane, **row, "finished_at": None}


def run_of(row: Mapping[str, Any], database: str) -> Run:
    """Return a document as a run; what the document does not have keeps its default."""
    values = {name: _value(name, row[name]) for name in COLUMNS if name in row}
    return Run(database=database, **{"revision": "", **values, "run_id": row["_id"]})


def asked(wanted: RunFilter, after: str) -> dict[str, Any]:
    """Return a filter of runs as the server's own."""
    began = {"$gte": wanted.since and time_of(wanted.since), "$lt": wanted.until and time_of(wanted.until)}
    found: list[dict[str, Any]] = [
        {"_id": {"$lt": after} if after else None},
        {"_id": _beginning(wanted.run)},
        {"_id": None if wanted.ids is None else {"$in": list(wanted.ids)}},
        {"revision": _beginning(wanted.script)},
        {"status": {"$in": [str(each) for each in wanted.statuses]} if wanted.statuses else None},
        {"direction": wanted.direction and str(wanted.direction)},
        {"user": wanted.user},
        {"host": wanted.host},
        {"started_at": {sign: time for sign, time in began.items() if time}},
    ]
    conditions = [each for each in found if all(each.values())]
    return {"$and": conditions} if conditions else {}


def counted(wanted: RunFilter) -> list[dict[str, Any]]:
    """Return the pipeline that counts the runs that are asked for, by sort."""
    failed = {"$eq": ["$status", str(Status.FAILED)]}
    said = {"$cond": [{"$in": [{"$ifNull": ["$result.error_class", ""]}, [""]]}, "$reason", "$result.error_class"]}
    sort = {name: f"${name}" for name in ("revision", "title", "kind", "status")}
    day = {"$dateToString": {"date": "$started_at", "format": "%Y-%m-%d", "onNull": ""}}
    sums = {"runs": {"$sum": 1}, "newest": {"$max": "$_id"}, "spent": {"$push": "$duration_ms"}}
    key = {**sort, "day": day, "error": {"$cond": [failed, said, ""]}}
    return [{"$match": asked(wanted, "")}, {"$group": {"_id": key, **sums}}]


def total_of(row: Mapping[str, Any]) -> "Total":
    """Return what `counted` gives as a total."""
    from migrator.core.stats import Total

    sort = row["_id"]
    status = Status(sort["status"])
    return Total(
        revision=sort["revision"],
        title=sort.get("title") or "",
        kind=Kind(sort["kind"]),
        status=status,
        day=sort["day"],
        error=(sort.get("error") or "unknown") if status is Status.FAILED else "",
        runs=row["runs"],
        newest=row["newest"],
        spent=[each for each in row["spent"] if each is not None],
    )


def projected(columns: Sequence[str]) -> dict[str, int]:
    """Return which fields are to be read; the id always is."""
    return {"_id": 1, **{name: 1 for name in COLUMNS if name in columns and name != "run_id"}}


def _beginning(text: str) -> dict[str, str] | None:
    return {"$regex": f"^{re.escape(text)}"} if text else None


def firing_of(row: Mapping[str, Any]) -> Firing:
    """Return a document as a firing."""
    values: dict[str, Any] = {name: row[name] for name in ("due", "next", "word", "by", "message", "runs")}
    times = {name: iso(row.get(name)) for name in ("started_at", "finished_at")}
    return Firing(name=row["_id"], **{**values, **times})


def iso(moment: datetime | None) -> str:
    """Return a time of the server (aware, UTC) as text with milliseconds, "" for none."""
    return "" if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    return dict(value) if isinstance(value, Mapping) else value


def _value(name: str, value: Any) -> Any:
    if name in _TIMES:
        return iso(value)
    return _ENUMS[name](value) if name in _ENUMS else value
