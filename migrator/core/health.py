"""How well the databases are, as one document: for people at `doctor`, for probes, and for the dashboard."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from migrator.core.protocols import Finding, Holder
from migrator.core.report import Line, restore_hint, upgrade_command

OK, DEGRADED, FAILING = "ok", "degraded", "failing"
_WORDS = {"ok": OK, "warn": DEGRADED, "fail": FAILING}
_RANK = (OK, DEGRADED, FAILING)
_READY = ("applied", "unknown")
"""States of revisions with which an application may start; unknown ones belong to a newer release beside it."""


@dataclass(frozen=True)
class Probe:
    """What was found out about one database. `lines` are None where its state could not be read.

    They are of the revisions in their order, `scripts` of those beside it.
    """

    name: str
    findings: Sequence[Finding]
    lines: tuple[Line, ...] | None = None
    holder: Holder | None = None
    scripts: tuple[Line, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatabaseHealth:
    """How well one database is. `lock_age` and `clock_skew` are in seconds, None where they are not known.

    `ready` says that nothing is left to apply and nothing is half done; `interrupted` and `blocked` are run ids.
    """

    name: str
    status: str
    ready: bool
    reachable: bool
    tracker: bool
    applied: int = 0
    pending: int = 0
    drifted: int = 0
    running: tuple[str, ...] = ()
    interrupted: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    lock: str = ""
    lock_age: float | None = None
    clock_skew: float | None = None
    findings: tuple[Finding, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {**vars(self), "findings": [finding._asdict() for finding in self.findings]}


@dataclass(frozen=True)
class Health:
    """How well all of them are: as well as the worst."""

    databases: Mapping[str, DatabaseHealth] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """Return `ok`, `degraded` (it works, and wants to be looked at) or `failing` (an upgrade would not pass)."""
        return max((each.status for each in self.databases.values()), key=_RANK.index, default=OK)

    @property
    def ready(self) -> bool:
        """Say whether an application that needs these revisions may start."""
        return all(each.ready for each in self.databases.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the document for probes."""
        databases = {name: each.as_dict() for name, each in self.databases.items()}
        return {"status": self.status, "ready": self.ready, "databases": databases}


def health(probes: Iterable[Probe], now: datetime) -> Health:
    """Compose the document. `now` is in UTC; the age of a lock is as exact as the clocks agree."""
    return Health({probe.name: _database(probe, now) for probe in probes})


def _database(probe: Probe, now: datetime) -> DatabaseHealth:
    lines = probe.lines or ()
    runs = {word: _runs((*lines, *probe.scripts), word) for word in ("running", "interrupted", "blocked")}
    hindered = any(each.level == "fail" for each in probe.findings)
    of_state = (*_of_state(probe.name, lines, hindered=hindered), *_of_scripts(probe.scripts))
    findings = (*probe.findings, *of_state, *_of_lock(probe, now))
    values = {finding.subject: finding.value for finding in findings}
    skew = values.get("clock")
    return DatabaseHealth(
        name=probe.name,
        status=max((_WORDS[finding.level] for finding in findings), key=_RANK.index, default=OK),
        ready=probe.lines is not None and all(line.state in _READY for line in lines),
        reachable=all(finding.level != "fail" for finding in findings if finding.subject == "connection"),
        tracker=bool(values.get("tracker")),
        applied=_count(lines, "applied"),
        pending=_count(lines, "pending") + _count(lines, "failed"),
        drifted=_count(lines, "drifted"),
        **runs,
        lock=str(probe.holder or ""),
        lock_age=_age(probe.holder, now),
        clock_skew=skew,
        findings=findings,
    )


def _count(lines: Iterable[Line], word: str) -> int:
    return sum(line.state == word for line in lines)


def _runs(lines: Iterable[Line], word: str) -> tuple[str, ...]:
    return tuple(line.run_id for line in lines if line.state == word)


def _of_state(name: str, lines: Sequence[Line], *, hindered: bool) -> Sequence[Finding]:
    """Return what the revisions have to say, the worst only. `hindered`: another finding keeps an upgrade from it."""
    again = upgrade_command(name, lines)
    for word, level, text, hint in (
        ("blocked", "fail", "left something behind that a person must judge", "`migrator resolve {run}` shows it."),
        ("drifted", "fail", "changed after it was applied", "{restore}"),
        ("interrupted", "warn", "was interrupted", "`{again}` settles it and continues."),
        (
            "failed",
            "warn",
            "is not applied: its last upgrade failed",
            "`migrator logs {run}` shows why; then `{again}`.",
        ),
        ("pending", "warn", "is not applied", "`{again}`"),
    ):
        found = [line for line in lines if line.state == word]
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            first = f"{found[0].revision} ({found[0].title})"
            restore = restore_hint(name, lines) if word == "drifted" else ""
            words = {"again": again, "restore": restore, "run": found[0].run_id}
            advice = "Correct what fails above first." if hindered else hint.format(**words)
            return [Finding(level, "state", f"{first} {text}{more}", advice)]
    return []


def _of_scripts(lines: Sequence[Line]) -> Sequence[Finding]:
    """Return the scripts that a person must judge; no upgrade of the ordered revisions waits for that."""
    return [
        Finding(
            "warn",
            "script",
            f"{line.revision} ({line.title}) left something behind that a person must judge",
            f"`migrator resolve {line.run_id}` shows it.",
        )
        for line in lines
        if line.state == "blocked"
    ]


def _of_lock(probe: Probe, now: datetime) -> Sequence[Finding]:
    age = _age(probe.holder, now)
    lasts = f", for {age:.0f} s" if age is not None else ""
    return [Finding("ok", "lock", f"held by {probe.holder}{lasts}", value=age)] if probe.holder else []


def _age(holder: Holder | None, now: datetime) -> float | None:
    try:
        since = datetime.fromisoformat(holder.since) if holder else None
    except ValueError:
        return None
    return max((now - since).total_seconds(), 0.0) if since and since.tzinfo else None
