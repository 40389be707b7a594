"""What the commands answer: the state of every revision in one word."""

import json

from migrator.core.history import History
from migrator.core.outcome import Outcome
from migrator.core.plan import Plan
from migrator.core.protocols import Holder
from migrator.core.report import DatabaseReport, lines_of
from migrator.core.run import Run, State

from .build import failed, key, line, plan, revision, state

FILES = [
    *line("a b c d"),
    revision("x", "d", labels="side", needs="events:e"),
    revision("events:e"),
]
HOLDER = Holder("pod-1", 7, "ann", "2026-11-20T10:30:00Z", "app:c")


def lines(files: History, before: State, holder: Holder | None = None) -> dict[str, str]:
    """Return id and state of the lines of app."""
    return {each.revision: each.state for each in lines_of(files, before, "app", holder)}


def test_words() -> None:
    """Applied, drifted, blocked, pending and unknown, each where it belongs."""
    before = state("a b zz", drifted="b", blocked=[failed("c")])
    expected = {"a": "applied", "b": "drifted", "c": "blocked", "d": "pending", "x": "pending", "zz": "unknown"}
    assert expected == lines(History(FILES), before)


def test_running_or_interrupted() -> None:
    """A pending run is running while somebody holds the lock, and interrupted when nobody does."""
    before = State(state("a").applied, running=(Run(run_id="1", database="app", revision="b"),))
    assert lines(History(FILES), before, HOLDER)["b"] == "running"
    assert lines(History(FILES), before)["b"] == "interrupted"


def test_stored_is_unknown_once() -> None:
    """A revision whose text came from the tracker has one line, and it is unknown."""
    full = History([*line("a"), revision("zz", "a", stored=True)])
    found = [(each.revision, each.state) for each in lines_of(full, state("a zz"), "app", None)]
    assert found == [("a", "applied"), ("zz", "unknown")]


def test_line() -> None:
    """A line says where the revision stands, from which file, and who applied it when."""
    *_, last = lines_of(History(FILES), state("a b c d x"), "app", None)
    assert (last.head, last.labels, last.parents) == (True, ("side",), ("d", "events:e"))
    assert (
        last.path,
        last.applied_at,
        last.applied_by,
        last.release,
        last.run_id,
    ) == ("revisions/app/x.py", "2026-11-20T10:30:00Z", "ann@pod-1", "v7", "run-x")
    first, *_ = lines_of(History(FILES), state(blocked=[failed("a")]), "app", None)
    assert (first.head, first.note) == (False, "it broke")


def test_report() -> None:
    """A report counts, and is clean when everything is applied and as it was."""
    found = lines_of(History(FILES), state("a b c d"), "app", None)
    report = DatabaseReport("app", "postgres", "postgresql://h/shop", found)
    assert (report.count("applied"), report.count("pending"), report.count("applied", "pending")) == (4, 1, 5)
    assert [each.revision for each in report.having("pending")] == ["x"]
    assert not report.clean
    assert report.as_dict()["clean"] is False
    assert DatabaseReport("app", "postgres", "", found[:4]).clean


def test_outcome() -> None:
    """An outcome is plain JSON: the steps, the runs, the notes."""
    made = plan("upgrade", History(FILES), state("a"), "b")
    shown = json.loads(json.dumps(Outcome(made, (Run(run_id="1", database="app", revision="b"),), ("note",)).as_dict()))
    step = {"database": "app", "revision": "b", "title": "Title of b", "direction": "upgrade", "forced": False,
            "path": "revisions/app/b.py"}  # fmt: skip
    assert ([step], ["note"], False) == (shown["plan"], shown["notes"], shown["dry_run"])
    assert key("b").id == shown["runs"][0]["revision"]
    assert Outcome(Plan(), dry_run=True).as_dict() == {"dry_run": True, "plan": [], "runs": [], "notes": []}
