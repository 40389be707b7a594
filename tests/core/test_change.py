"""How a long change stands, what goes on with it, and what is refused: decided from values alone."""

from dataclasses import replace

import pytest

from migrator.core.batch import Checkpoint, Control, Desired
from migrator.core.change import Change, rate
from migrator.core.errors import Drifted, PlanRefused, ResolveNeeded, UsageError
from migrator.core.history import History
from migrator.core.mend import mend
from migrator.core.report import lines_of
from migrator.core.revision import Direction
from migrator.core.run import Effect, Run, State, Status, state_of
from migrator.core.scripts import Scripts
from migrator.core.tuning import settings_of

from .build import failed, key, line, plan, state, steps, success

FILES = line("a b c")
LOOP = Checkpoint(origin="o", name="rows", rows=4000, total=10_000, size=100, rate=1000.0)
RUNNING = Run(run_id="r", database="app", revision="b", cursor={"origin": "o"})
PAUSED = Control(Desired.PAUSE, "ann@pod-1", "peak", {}, "2026-11-21T10:30:00Z")
CANCELLED = replace(PAUSED, desired=Desired.CANCEL)


def stopped(name: str = "b", direction: Direction = Direction.UPGRADE, checksum: str = "") -> Run:
    """Make the last run of a long change that stopped on its way."""
    run = failed(name, Effect.PARTIAL, direction)
    return replace(run, cursor={"origin": run.run_id}, checksum=checksum or f"sum of {run.key}")


def on(applied: str, run: Run, control: Control | None = None) -> State:
    """Make a state with a long change that stopped on its way."""
    found = state_of([run])
    asked = {run.key: control or Control()}
    return replace(state(applied), blocked=found.blocked, resumable=found.resumable, controls=asked)


@pytest.mark.parametrize(
    ("control", "loop", "at_work", "word"),
    [
        (Control(), LOOP, True, "running"),
        (Control(), replace(LOOP, waiting="lag: 4 s"), True, "throttled"),
        (PAUSED, LOOP, True, "paused"),
        (Control(), replace(LOOP, waiting="lag: 4 s"), False, "interrupted"),
        (CANCELLED, LOOP, False, "cancelled"),
    ],
)
def test_standing(control: Control, loop: Checkpoint, at_work: bool, word: str) -> None:
    """A change is running, throttled, paused, interrupted or cancelled, and only one at work waits for anything."""
    change = Change(RUNNING, control, (loop,), at_work=at_work)
    assert change.standing == word
    assert change.waiting == (loop.waiting if at_work else "")


def test_when_it_is_done() -> None:
    """The time that is left counts signals and the limit, not a person's pauses; it is a range from none to as many."""
    held = replace(LOOP, throttled={"paused": 9999.0, "rate": 4.0, "lag": 8.0})
    assert (rate(LOOP), rate(held)) == (1000.0, 250.0)
    state, seconds, low, high = Change(RUNNING, Control(), (held,), at_work=True).estimate(held)
    assert (state, seconds, low, high) == ("ready", 24.0, 12.0, 24.0)


@pytest.mark.parametrize(
    ("loop", "word"),
    [
        (replace(LOOP, total=-1), "unknown"),
        (replace(LOOP, rate=0.0), "measuring"),
        (replace(LOOP, rows=10_000), "due"),
        (replace(LOOP, done=True), "due"),
    ],
)
def test_when_nobody_can_say(loop: Checkpoint, word: str) -> None:
    """Without a total, a rate, or anything left there is a word in place of a time."""
    assert Change(RUNNING, Control(), (loop,), at_work=True).estimate(loop).state == word


def test_why_it_stands_still() -> None:
    """A pause says who asked for it, since when, why, and how to go on."""
    assert PAUSED.pause == "paused: by ann@pod-1 since 2026-11-21T10:30:00Z (peak); `migrator resume` lets it go on"
    assert Control().pause == CANCELLED.pause == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("max_row=5", "Did you mean max_rows?"),
        ("speed=5", "There are: target"),
        ("max_rows=1.5", "a whole number"),
        ("target=soon", "a number"),
        ("target", "a number"),
        ("target=-1", "target is -1.0"),
        ("target=nan", "target is nan"),
        ("max_rows_per_second=inf", "max_rows_per_second is inf"),
        ("max_rows=0", "max_rows is 0"),
        ("", "tune needs a setting"),
    ],
)
def test_settings_that_cannot_be_meant(words: str, said: str) -> None:
    """A setting that is not there or has no sense is refused with what would have."""
    with pytest.raises(UsageError) as caught:
        settings_of(words.split())
    assert said in f"{caught.value} {caught.value.hint}"


def test_settings() -> None:
    """Settings have the types of those that they replace."""
    found = settings_of(["target=0.2", "max_rows=500", "max_rows_per_second=0"])
    assert [(name, value, type(value)) for name, value in found.items()] == [
        ("target", 0.2, float),
        ("max_rows", 500, int),
        ("max_rows_per_second", 0.0, float),
    ]


def test_it_goes_on() -> None:
    """A change that stopped on its way is run by the next command of the same direction, and told as interrupted."""
    assert steps(plan("upgrade", History(FILES), on("a", stopped()), "head")) == "b c"
    down = on("a b", stopped(direction=Direction.DOWNGRADE))
    assert steps(plan("downgrade", History(FILES), down, "-1")) == "-b"
    words = [each.state for each in lines_of(History(FILES), on("a", stopped()), "app", None)]
    assert words == ["applied", "interrupted", "pending"]


def test_a_forced_one_does_not_go_down() -> None:
    """A forced run that stopped on its way is not what a downgrade goes on with: a person looks first."""
    with pytest.raises(ResolveNeeded):
        plan("downgrade", History(FILES), on("a b", stopped()), "-1")


def test_a_cancelled_one_waits_for_a_word() -> None:
    """A cancelled change is refused, with who cancelled it, and told as blocked."""
    with pytest.raises(ResolveNeeded, match="cancelled by ann@pod-1 at 2026-11-21T10:30:00Z: peak") as caught:
        plan("upgrade", History(FILES), on("a", stopped(), CANCELLED), "head")
    assert "`migrator resume bad-b`" in caught.value.hint
    lines = lines_of(History(FILES), on("a", stopped(), CANCELLED), "app", None)
    assert lines[1].state == "blocked"
    assert steps(plan("upgrade", History(FILES), on("a", stopped(), PAUSED), "b")) == "b"


def test_another_text_is_refused() -> None:
    """A change does not go on with another text than it began with."""
    with pytest.raises(Drifted, match=r"app:b \(revisions/app/b.py\) changed since run bad-b"):
        plan("upgrade", History(FILES), on("a", stopped(checksum="other")), "head")


def test_nothing_under_it_goes_down() -> None:
    """A revision under a half done change stays; one beside it goes."""
    with pytest.raises(ResolveNeeded, match="depends on what is to go down"):
        plan("downgrade", History(FILES), on("a", stopped()), "base")
    other = [*FILES, *line("x y", "events")]
    assert steps(plan("downgrade", History(other), on("a events:x", stopped()), "events:x-1")) == "-events:x"


def test_a_retry_of_failed_rows_leaves_nothing_to_judge() -> None:
    """A run of failed rows that was interrupted blocks nothing and is not gone on with."""
    run = replace(stopped(), cursor={"origin": "r", "failed_of": "o"})
    assert (state_of([run]).blocked, state_of([run]).resumable) == ({}, {})
    assert (run.origin, run.kept_under, stopped().kept_under) == ("r", "o", "bad-b")


def test_failed_rows_are_run_where_their_change_stands() -> None:
    """Rows are run again under the success of the change that passed them over, and under no other."""
    done = replace(success(key("b")), cursor={"origin": "o"}, status=Status.SUCCESS)
    stands = replace(state("a b"), applied={**state("a").applied, key("b"): done})
    (step,) = mend(History(FILES), Scripts([], History(FILES)), stands, RUNNING).steps
    assert (step.key, step.failed_of) == (key("b"), "o")
    for other in (state("a"), state("a b")):
        with pytest.raises(PlanRefused, match="is not what it stands on now"):
            mend(History(FILES), Scripts([], History(FILES)), other, RUNNING)
