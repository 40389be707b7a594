"""What holds for every history, every state and every target."""

from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from migrator.core.errors import DatabaseAhead, MigratorError, PlanRefused, StillNeeded, TargetError, UsageError
from migrator.core.history import History
from migrator.core.plan import Plan
from migrator.core.revision import Direction, Key
from migrator.core.run import State
from migrator.core.target import Target

from .build import PLANNERS, commands, fold, line, plan
from .worlds import DATABASES, World, histories, lower, places, troubled, worlds

SPOKEN = (TargetError, UsageError, PlanRefused)
often = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def below(history: History, chosen: Iterable[Key]) -> set[Key]:
    """Return the keys and all that they stand on, read from the headers alone."""
    found = set(chosen)
    while grown := {up for key in found for up in (*history[key].down, *history[key].depends_on)} - found:
        found |= grown
    return found


def above(history: History, key: Key) -> set[Key]:
    """Return all that stands on a revision in its own database, read from the headers alone."""
    found = {key}
    while grown := {one.key for one in history if found & set(one.down)} - found:
        found |= grown
    return found - {key}


def attempt(verb: str, world: World, target: str) -> Plan:
    """Plan; where that is refused, which is the subject of another property, the plan is empty."""
    try:
        return plan(verb, world.history, world.state, target)
    except SPOKEN as error:
        event(f"{verb} refused: {type(error).__name__}")
        return Plan()


@often
@given(world=worlds(verbs=("upgrade", "downgrade", "stamp", "again")), choose=st.data())
def test_parents_come_first(world: World, choose: st.DataObject) -> None:
    """When a step of an upgrade begins, all that its revision stands on is applied, and it is not."""
    made = attempt("upgrade", world, choose.draw(places(world.history)))
    there = set(world.state.applied)
    for step in made.steps:
        assert Direction.UPGRADE is step.direction
        assert set() == {*step.revision.down, *step.revision.depends_on} - there
        assert step.key not in there
        there.add(step.key)


@often
@given(world=worlds(verbs=("upgrade", "upgrade", "downgrade", "again")), choose=st.data())
def test_children_go_first(world: World, choose: st.DataObject) -> None:
    """When a step of a downgrade begins, nothing that is applied stands on its revision, in any database."""
    made = attempt("downgrade", world, choose.draw(lower(world)))
    there = set(world.state.applied)
    for step in made.steps:
        assert Direction.DOWNGRADE is step.direction
        there.remove(step.key)
        assert [
            key for key in there if step.key in (*world.history[key].down, *world.history[key].depends_on)
        ] == []  # fmt: skip


@often
@given(world=worlds(), choose=st.data())
def test_downgrade_mirrors_application(world: World, choose: st.DataObject) -> None:
    """What was applied last goes down first."""
    made = attempt("downgrade", world, choose.draw(lower(world)))
    going = {step.key for step in made.steps}
    assert [key for key in reversed(list(world.state.applied)) if key in going] == [step.key for step in made.steps]


@often
@given(world=worlds(), choose=st.data())
def test_done_is_done(world: World, choose: st.DataObject) -> None:
    """A plan folded into the state leaves nothing to plan for the same place."""
    target = choose.draw(places(world.history).filter(lambda text: not Target.parse(text).relative))
    try:
        made = plan("upgrade", world.history, world.state, target)
    except SPOKEN:
        return
    assert Plan() == plan("upgrade", world.history, fold(world.state, made), target)


@often
@given(world=worlds(), choose=st.data())
def test_upgrade_reaches_its_target_and_no_more(world: World, choose: st.DataObject) -> None:
    """An upgrade to a revision applies what it stands on and is not applied, and nothing else."""
    goal = choose.draw(st.sampled_from(world.history.order))
    made = plan("upgrade", world.history, world.state, str(goal))
    assert below(world.history, [goal]) - world.state.applied.keys() == {step.key for step in made.steps}


@often
@given(world=worlds(), number=st.integers(1, 3))
def test_offset_counts(world: World, number: int) -> None:
    """`+n` applies n revisions, and more only where something they stand on asks for it."""
    made = attempt("upgrade", world, f"app:+{number}")
    mine = [step.key for step in made.steps if step.revision.database == "app"]
    bare = not any(one.header.depends_on for one in world.history)
    assert len(mine) in ((number, 0) if bare else range(len(world.history) + 1))
    tops = [key for key in mine if not any(key in world.history[other].down for other in mine)]
    assert below(world.history, tops) >= set(mine)


@often
@given(world=worlds())
def test_downgrade_keeps_what_is_not_above(world: World) -> None:
    """A downgrade to a revision takes down what stands on it, and keeps it and everything else."""
    for goal in world.state.applied:
        try:
            made = plan("downgrade", world.history, world.state, str(goal))
        except StillNeeded:
            continue
        assert above(world.history, goal) & world.state.applied.keys() == {step.key for step in made.steps}


@often
@given(world=worlds(verbs=("upgrade", "upgrade", "downgrade", "again")))
def test_base_is_empty(world: World) -> None:
    """Downgrade to base over all databases leaves nothing applied."""
    made = plan("downgrade", world.history, world.state, "base")
    assert fold(world.state, made).applied == {}


@often
@given(start=st.integers(0, 6), there=st.integers(1, 6), length=st.integers(1, 12))
def test_there_and_back(start: int, there: int, length: int) -> None:
    """On a line, `+n` and then `-n` is nothing."""
    length = max(length, start + there)
    history = History(line(" ".join(f"r{number:02}" for number in range(length))))
    begin = fold(State(), plan("upgrade", history, State(), f"+{start}"))
    ahead = fold(begin, plan("upgrade", history, begin, f"+{there}"))
    assert start + there == len(ahead.applied)
    assert begin == fold(ahead, plan("downgrade", history, ahead, f"-{there}"))


@often
@given(world=worlds(), choose=st.data())
def test_stamped_is_there(world: World, choose: st.DataObject) -> None:
    """After a stamp there is nothing to upgrade to the same target in its database, and nothing above a revision."""
    goal = choose.draw(st.sampled_from(world.history.order))
    after = fold(world.state, plan("stamp", world.history, world.state, str(goal)))
    left = plan("upgrade", world.history, after, str(goal))
    assert set() == {step.key for step in left.steps if step.revision.database == goal.database}
    assert set() == above(world.history, goal) & after.applied.keys()


@often
@given(world=worlds())
def test_everything_stamped(world: World) -> None:
    """After `stamp heads` nothing is left to upgrade anywhere, and `stamp base` forgets all of it."""
    after = fold(world.state, plan("stamp", world.history, world.state, "heads"))
    assert Plan() == plan("upgrade", world.history, after, "heads")
    assert fold(after, plan("stamp", world.history, after, "base")).applied == {}


@often
@given(world=worlds(), choose=st.data())
def test_stamp_leaves_the_rest_alone(world: World, choose: st.DataObject) -> None:
    """A stamp writes only what stands below or above its target, never a branch or a database beside it."""
    label = choose.draw(st.sampled_from(sorted({x for one in world.history for x in world.history.labels(one.key)})))
    place = choose.draw(st.sampled_from(["heads", "base"]))
    made = attempt("stamp", world, f"{label}@{place}")
    branch = {one.key for one in world.history if label in world.history.labels(one.key)}
    databases = {key.database for key in branch}
    for step in made.steps:
        assert step.key in (branch if place == "base" else below(world.history, branch))
        assert step.revision.database in databases


@often
@given(world=troubled(), verb=st.sampled_from(sorted(PLANNERS)), choose=st.data())
def test_refusals_are_spoken_and_harmless(world: World, verb: str, choose: st.DataObject) -> None:
    """Whatever cannot be done is a MigratorError with a state and a hint, and changes no input."""
    target = choose.draw(places(world.history) | st.from_regex(r"[a-z0-9_:@+-]{1,8}", fullmatch=True))
    order, applied = world.history.order, list(world.state.applied.items())
    blocked = list(world.state.blocked.items())
    said: list[MigratorError] = []
    try:
        plan(verb, world.history, world.state, target)
    except SPOKEN as error:
        said.append(error)
    assert [error for error in said if "" in (error.message, error.hint)] == []
    assert [error for error in said if "Nothing was changed" not in error.state] == []
    assert order == world.history.order
    assert applied == list(world.state.applied.items())
    assert blocked == list(world.state.blocked.items())


@often
@given(world=worlds(), choose=st.data())
def test_still_needed_says_how(world: World, choose: st.DataObject) -> None:
    """The command in a StillNeeded takes down what was asked for, and nothing needs what it takes."""
    target = choose.draw(places(world.history))
    try:
        made = plan("downgrade", world.history, world.state, target)
    except StillNeeded as error:
        ((verb, targets),) = commands(error.hint)
        made = plan(verb, world.history, world.state, targets)
        named = [key for key in world.state.applied if f"depends on {key}" in error.message]
        assert set(named) < {step.key for step in made.steps}
    except SPOKEN:
        return
    left = fold(world.state, made).applied
    assert left.keys() == below(world.history, left)


@often
@given(history=histories())
def test_order_and_reach(history: History) -> None:
    """The order of a history puts parents first, and ancestors and descendants are what the headers say."""
    seen: set[Key] = set()
    for key in history.order:
        assert set() == set(history.parents(key)) - seen
        assert below(history, [key]) == history.ancestors([key])
        assert above(history, key) | {key} == history.descendants([key])
        seen.add(key)
    assert len(history) == len(seen)
    tops = {one.key for one in history} - {parent for one in history for parent in one.down}
    assert tops == {key for name in DATABASES for key in history.heads(name)}


@often
@given(world=worlds(), lost=st.sampled_from(DATABASES))
def test_ahead_is_refused_where_there_is_work(world: World, lost: str) -> None:
    """A database with a revision that has no file gets no upgrade, unless there is nothing to do in it."""
    stranger = Key(lost, "zz99")
    ahead = fold(world.state, plan("upgrade", History(line("zz99", lost)), State(), "heads")).applied
    state = State(applied={**world.state.applied, **ahead})
    todo = {one.database for one in world.history if one.key not in world.state.applied}
    if lost in todo:
        with pytest.raises(DatabaseAhead, match=str(stranger)):
            plan("upgrade", world.history, state, "heads")
    else:
        assert todo == set(plan("upgrade", world.history, state, "heads").databases())
