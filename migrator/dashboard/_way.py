"""What a run's row means for people: the stations on its way, what state the data is in, what to do next. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from migrator.core.data_state import describe_effect
from migrator.core.run import Effect, Kind, Run, Status
from migrator.core.runs import INTERRUPTED, RUNNING, live, time_of
from migrator.core.wording import duration
from migrator.dashboard._words import moment, run_made


class Station(NamedTuple):
    """One station on the way of a run; `word` says how it stands, as a state does: done, running, failed and so on."""

    name: str
    word: str
    at: str = ""
    note: str = ""


@dataclass(frozen=True)
class Meaning:
    """What state a run left the data in, what to do, and which ways out there are: the words of the buttons."""

    state: str
    hint: str = ""
    ways: tuple[str, ...] = ()


NOT_YET, NONE = "later", "elsewhere"
"""The words of a station that was not reached, and of one that there is not."""

_BESIDE = (Kind.STAMP, Kind.RESOLVE)


def way(run: Run, standing: str) -> tuple[Station, ...]:
    """Return the stations: planned, began, the step itself, verify, recorded."""
    made = run_made(run.run_id)
    planned = Station("Planned", "done", made, f"lock {run.fence}" if run.fence else "")
    recorded = Station("Recorded", "done" if run.finished_at else NOT_YET, run.finished_at)
    if run.kind in _BESIDE:
        return (planned, Station(str(run.kind).capitalize(), "done", run.started_at, run.reason), recorded)
    began = Station("Began", "done", run.started_at, _between(made, run.started_at))
    if run.kind is Kind.VERIFY:
        return (planned, began, Station("Verify", _step(run, standing), "", duration(run.duration_ms)), recorded)
    step = Station(str(run.direction).capitalize(), _step(run, standing), "", duration(run.duration_ms))
    return (planned, began, step, Station("Verify", *_verify(run, standing)), recorded)


def _step(run: Run, standing: str) -> str:
    if standing in (RUNNING, INTERRUPTED):
        return standing
    failed = run.status is Status.FAILED and (run.reason != "verify_failed" or run.kind is Kind.VERIFY)
    return "failed" if failed else "done"


def _verify(run: Run, standing: str) -> tuple[str, str, str]:
    if run.direction != "upgrade" or not ("def verify(" in run.source or "migrator: verify" in run.source):
        return NONE, "", "none" if run.direction == "upgrade" else "not asked"
    if standing in (RUNNING, INTERRUPTED):
        return NOT_YET, "", ""
    if run.reason == "verify_failed":
        return "failed", "", "said no"
    return (NOT_YET, "", "not reached") if run.status is Status.FAILED else ("done", "", "")


def _between(first: str, then: str) -> str:
    begun, ended = moment(first), moment(then)
    if not isinstance(begun, datetime) or not isinstance(ended, datetime):
        return ""
    waited = (ended - begun).total_seconds() * 1000
    return f"after {duration(waited)}" if waited >= 1 else ""  # two clocks may disagree


def meaning(run: Run, standing: str) -> Meaning:
    """Return what a run means now."""
    if standing == RUNNING:
        return Meaning("It is at work.", "", ("watch",) if run.origin else ())
    if standing == INTERRUPTED:
        return Meaning(
            "Whoever ran it is gone, and nobody has judged yet what it left.",
            "The next upgrade settles it: it rolls back, goes on at its checkpoint, or asks its verify.",
            ("go on",),
        )
    if run.status is Status.FAILED:
        return _failed(run)
    if run.status is Status.ROLLED_BACK:
        return Meaning(describe_effect(run))
    back = run.kind is not Kind.VERIFY and run.kind is not Kind.SCRIPT and run.direction == "upgrade" and live(run)
    return Meaning("", "", ("roll back",) if back else ("again",) if run.kind is Kind.SCRIPT else ())


def _failed(run: Run) -> Meaning:
    if run.kind is Kind.VERIFY:
        return Meaning("A verify changes nothing. The database is not as this revision left it.")
    if not live(run):
        return Meaning("It was settled since: a later run of this revision is what counts.")
    again = "again" if run.kind is Kind.SCRIPT else "retry"
    if run.effect is Effect.NONE:
        return Meaning(describe_effect(run), "Correct the cause, then run it again.", (again,))
    if run.origin:
        return Meaning(
            f"{describe_effect(run)} Its checkpoint is kept.",
            "Correct the cause, then go on: it continues at the checkpoint.",
            ("watch", again, "resolve"),
        )
    return Meaning(
        describe_effect(run),
        "Look at what it left, then decide. Until then no upgrade goes past it.",
        ("resolve",),
    )


def spent(run: Run, now: datetime) -> float:
    """Return the milliseconds that a run has taken until now."""
    if run.duration_ms is not None:
        return run.duration_ms
    return max((now - time_of(run.started_at)).total_seconds() * 1000, 0.0)
