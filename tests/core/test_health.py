"""How well a database is, from what was found out about it."""

from datetime import UTC, datetime, timedelta

import pytest

from migrator.core.health import Health, Probe, health
from migrator.core.protocols import Finding, Holder
from migrator.core.report import Line

NOW = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
FINE = (
    Finding("ok", "connection", "here"),
    Finding("ok", "tracker", "is there", value=1.0),
    Finding("ok", "clock", "they agree", value=0.25),
)


def lines(words: str) -> tuple[Line, ...]:
    """Return one revision for each state."""
    return tuple(
        Line("app", f"r{number}", "Title", word, run_id=f"run{number}") for number, word in enumerate(words.split())
    )


def of(words: str = "applied", *more: Finding, holder: Holder | None = None) -> Health:
    """Return the health of one database whose revisions are in these states."""
    return health([Probe("app", (*FINE, *more), lines(words), holder)], NOW)


@pytest.mark.parametrize(
    ("words", "status", "ready"),
    [
        ("", "ok", True),
        ("applied applied", "ok", True),
        ("applied unknown", "ok", True),
        ("applied running pending", "degraded", False),
        ("applied running", "ok", False),
        ("applied pending", "degraded", False),
        ("applied interrupted", "degraded", False),
        ("drifted applied", "failing", False),
        ("applied blocked pending", "failing", False),
    ],
)
def test_states_of_revisions(words: str, status: str, ready: bool) -> None:
    """What is half done or was tampered with fails; what is only to be done degrades; all of it is not ready."""
    found = of(words)
    assert (found.status, found.ready) == (status, ready)


def test_the_worst_comes_first() -> None:
    """Of several troubles the finding is on the worst, with the command that leads out of it."""
    (finding,) = [each for each in of("pending blocked pending").databases["app"].findings if each.subject == "state"]
    assert (finding.level, finding.text.split()[0]) == ("fail", "r1")
    assert "`migrator resolve run1`" in finding.hint


def test_findings_count() -> None:
    """A warning degrades and a failure fails, however well the revisions are; readiness is about revisions."""
    assert of("applied", Finding("warn", "pooler", "one is there")).status == "degraded"
    assert of("applied", Finding("warn", "pooler", "one is there")).ready
    assert of("applied", Finding("fail", "rights", "none")).status == "failing"


def test_a_database_out_of_reach() -> None:
    """One that cannot be read fails and is not ready, and so are all together; the others are as well as they are."""
    found = health([Probe("app", [Finding("fail", "connection", "nobody answers")]), Probe("b", FINE, ())], NOW)
    assert (found.status, found.ready) == ("failing", False)
    assert not found.databases["app"].reachable
    assert (found.databases["b"].status, found.databases["b"].reachable) == ("ok", True)


@pytest.mark.parametrize(
    ("since", "age"),
    [
        ((NOW - timedelta(seconds=90)).isoformat(), 90.0),
        ("2026-11-20T10:29:00Z", 60.0),
        ((NOW + timedelta(seconds=5)).isoformat(), 0.0),
        ("", None),
        ("2026-11-20 10:29", None),
    ],
)
def test_the_age_of_a_lock(since: str, age: float | None) -> None:
    """A lock is as old as its holder says, never younger than now, and of no age where nobody knows."""
    found = of(holder=Holder("pod-1", 7, "ann", since)).databases["app"]
    assert found.lock_age == age
    assert found.lock.startswith("ann@pod-1 pid 7")


def test_a_script_beside_the_order() -> None:
    """A script that a person must judge wants to be looked at; the revisions are as ready as they are."""
    found = health([Probe("app", FINE, lines("applied"), scripts=lines("done blocked changed"))], NOW)
    assert (found.status, found.ready) == ("degraded", True)
    assert found.databases["app"].blocked == ("run1",)
    assert "`migrator resolve run1`" in found.databases["app"].findings[-1].hint


def test_the_document() -> None:
    """The document for probes is made of plain values, and holds what the findings say in numbers."""
    document = of("applied pending interrupted").as_dict()
    assert (document["status"], document["ready"]) == ("degraded", False)
    database = document["databases"]["app"]
    assert {name: database[name] for name in ("applied", "pending", "interrupted", "clock_skew", "tracker")} == {
        "applied": 1,
        "pending": 1,
        "interrupted": ("run2",),
        "clock_skew": 0.25,
        "tracker": True,
    }
    assert database["findings"][0]["subject"] == "connection"


def test_nothing_is_well() -> None:
    """Without a database there is nothing to complain about."""
    assert (health([], NOW).status, health([], NOW).ready) == ("ok", True)
