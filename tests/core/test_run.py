"""A run's states as data, and what the runs say about a database."""

from dataclasses import replace
from itertools import product

import pytest

from migrator.core.revision import Direction
from migrator.core.run import COLUMNS, EFFECTS, TRANSITIONS, Effect, Kind, Run, State, Status, merged, state_of

from .build import failed, key, state, success

ARROWS = {
    (None, Status.PENDING),
    (Status.PENDING, Status.SUCCESS),
    (Status.PENDING, Status.FAILED),
    (Status.SUCCESS, Status.ROLLED_BACK),
}
ALLOWED = {
    (Status.PENDING, Effect.UNKNOWN),
    (Status.PENDING, Effect.PARTIAL),
    (Status.SUCCESS, Effect.FULL),
    (Status.FAILED, Effect.NONE),
    (Status.FAILED, Effect.PARTIAL),
    (Status.FAILED, Effect.FULL),
    (Status.FAILED, Effect.UNKNOWN),
    (Status.ROLLED_BACK, Effect.NONE),
}


def row(number: int, name: str, status: Status, effect: Effect, direction: Direction = Direction.UPGRADE) -> Run:
    """Make one live row."""
    its = key(name)
    return Run(
        run_id=str(number),
        database=its.database,
        revision=its.id,
        status=status,
        effect=effect,
        direction=direction,
        attempt=number,
    )


def test_the_arrows() -> None:
    """The table has these arrows and no others, each with a sentence."""
    assert set(TRANSITIONS) == ARROWS
    assert [said for said in TRANSITIONS.values() if not (said.endswith(".") and " " in said)] == []


def test_the_effects() -> None:
    """Every status has its effects, as the card and the design say."""
    assert {(status, effect) for status, effects in EFFECTS.items() for effect in effects} == ALLOWED
    assert set(Status) == set(EFFECTS)


@pytest.mark.parametrize(("before", "after", "effect"), list(product(Status, Status, Effect)))
def test_every_arrow_and_non_arrow(before: Status, after: Status, effect: Effect) -> None:
    """A run moves along an arrow with an effect that fits, and in no other way; the run itself stays as it was."""
    run = Run(run_id="1", database="app", revision="a", status=before, title="Title")
    if (before, after) in ARROWS and (after, effect) in ALLOWED:
        moved = run.moved(after, effect, reason="because")
        assert (after, effect, "because", "Title") == (moved.status, moved.effect, moved.reason, moved.title)
    else:
        named = effect if (before, after) in ARROWS else before
        with pytest.raises(ValueError, match=rf"cannot .*\b{named}\b") as caught:
            run.moved(after, effect)
        assert str(after) in str(caught.value)
    assert before is run.status


def test_a_new_run_is_pending() -> None:
    """A run begins at the one arrow that comes from nowhere, with an effect that fits."""
    run = Run(run_id="1", database="app", revision="a")
    assert (None, run.status) in TRANSITIONS
    assert run.effect in EFFECTS[run.status]


def test_as_dict() -> None:
    """`--json` shows every field but the source, which is long."""
    shown = Run(run_id="1", database="app", revision="a", source="long", params={"n": 1}).as_dict()
    assert {*COLUMNS, "database"} - {"source"} == set(shown)
    assert (
        shown["run_id"],
        shown["database"],
        shown["status"],
        shown["params"],
    ) == ("1", "app", "pending", {"n": 1})
    assert "long" not in repr(Run(run_id="1", database="app", revision="a", source="long"))


def test_columns() -> None:
    """The tracker has the columns of the design, and none for the database that it is in."""
    promised = (
        "run_id revision title kind direction status effect reason forced attempt checksum source params progress "
        "cursor started_at finished_at duration_ms result error log_file deploy_id owner host pid user release fence"
    )
    assert set() == set(promised.split()) - set(COLUMNS)
    assert "database" not in COLUMNS


def test_words() -> None:
    """The words in the tracker are the card's and the design's."""
    assert [str(each) for each in Status] == ["pending", "success", "failed", "rolled_back"]
    assert [str(each) for each in Effect] == ["none", "partial", "full", "unknown"]
    assert [str(each) for each in Kind] == ["revision", "stamp", "resolve", "script", "verify"]
    assert [str(each) for each in Direction] == ["upgrade", "downgrade"]


def test_applied_in_order() -> None:
    """Applied revisions stand in the order in which they were applied; one that ran again stands last."""
    a, b = success(key("a")), success(key("b"))
    assert [key("a"), key("b")] == list(state_of([a, b]).applied)
    assert [key("b"), key("a")] == list(state_of([a, b, a]).applied)
    assert {key("a"): a} == state_of([a]).applied


def test_only_live_success_is_applied() -> None:
    """A downgrade that succeeded applies nothing, and neither does what it rolled back."""
    rows = [
        row(1, "a", Status.SUCCESS, Effect.FULL),
        row(2, "b", Status.ROLLED_BACK, Effect.NONE),
        row(3, "b", Status.SUCCESS, Effect.FULL, Direction.DOWNGRADE),
        row(4, "c", Status.FAILED, Effect.NONE),
        row(5, "d", Status.PENDING, Effect.UNKNOWN),
    ]
    assert [key("a")] == list(state_of(rows).applied)


def test_superseded_says_nothing() -> None:
    """A run that a later one superseded counts for nothing, not even as an attempt."""
    old = [
        row(1, "a", Status.SUCCESS, Effect.FULL),
        row(2, "b", Status.FAILED, Effect.PARTIAL),
        row(3, "c", Status.PENDING, Effect.UNKNOWN),
    ]
    assert State() == state_of([replace(each, superseded_by="9") for each in old])


@pytest.mark.parametrize(
    ("effect", "expected"), [*((each, True) for each in Effect if each != "none"), ("none", False)]
)
@pytest.mark.parametrize("direction", Direction)
def test_blocked(effect: Effect, expected: bool, direction: Direction) -> None:
    """A failure blocks its revision unless it is known to have done nothing."""
    run = failed("a", Effect(effect), direction)
    assert ({key("a"): run} if expected else {}) == state_of([run]).blocked


def test_judged_is_not_blocked() -> None:
    """A row by which a person judged a failure blocks nothing, whatever effect it records."""
    judged = [replace(failed("a", effect), kind=Kind.RESOLVE) for effect in Effect]
    assert state_of(judged).blocked == {}


def test_applied_and_blocked() -> None:
    """A revision whose downgrade failed half way is applied and blocked."""
    run = failed("a", direction=Direction.DOWNGRADE)
    found = state_of([success(key("a")), run])
    assert ([key("a")], {key("a"): run}) == (list(found.applied), found.blocked)


def test_running() -> None:
    """Pending rows are running, in order."""
    rows = [row(1, "a", Status.PENDING, Effect.UNKNOWN), row(2, "b", Status.PENDING, Effect.PARTIAL)]
    assert tuple(rows) == state_of(rows).running


def test_attempts() -> None:
    """The attempts of a revision are the highest number among its live rows, in any order."""
    rows = [row(number, name, Status.FAILED, Effect.NONE) for number, name in [(1, "a"), (3, "a"), (2, "a"), (1, "b")]]
    assert {key("a"): 3, key("b"): 1} == state_of(rows).attempts


def test_merged() -> None:
    """The states of several databases become one, nothing lost, order kept."""
    running = row(1, "b", Status.PENDING, Effect.UNKNOWN)
    first = State(state("a b").applied, {key("c"): failed("c")}, (running,), {key("a"): 2})
    other = row(1, "events:f", Status.PENDING, Effect.UNKNOWN)
    second = State(state("events:a").applied, {key("events:c"): failed("events:c")}, (other,), {key("events:a"): 1})
    both = merged([first, second])
    assert [key("a"), key("b"), key("events:a")] == list(both.applied)
    assert [key("c"), key("events:c")] == list(both.blocked)
    assert (running, other) == both.running
    assert {key("a"): 2, key("events:a"): 1} == both.attempts
    assert State() == merged([])
