"""Strategies: histories of every shape, and states that plans can reach in them."""

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from migrator.core.errors import MigratorError
from migrator.core.history import History
from migrator.core.revision import Key, Revision
from migrator.core.run import Effect, State

from .build import failed, fold, plan, revision, success

DATABASES = ("app", "events", "audit")


@dataclass(frozen=True)
class World:
    """A history and a state of its databases."""

    history: History
    state: State


@st.composite
def histories(draw: st.DrawFn, *, most: int = 10) -> History:
    """Make lines, branches with labels, merges, several databases, cross links; files in any order."""
    names = DATABASES[: draw(st.integers(1, 3))]
    made: list[Revision] = []
    for number in range(draw(st.integers(1, most))):
        database = draw(st.sampled_from(names))
        mine = [one.id for one in made if one.database == database]
        down = draw(st.lists(st.sampled_from(mine[-3:]), min_size=1, max_size=2, unique=True)) if mine else []
        if draw(st.integers(0, 9)) == 0:
            down = []
        others = [str(one.key) for one in made if one.id not in down]
        needs = draw(st.lists(st.sampled_from(others), max_size=1)) if others else []
        label = f"label{number}" if not down or draw(st.booleans()) else ""
        made.append(
            revision(
                f"{database}:r{number:02}",
                " ".join(down),
                needs=" ".join(needs),
                labels=label,
            )
        )
    return History(draw(st.permutations(made)))


@st.composite
def worlds(draw: st.DrawFn, *, verbs: tuple[str, ...] = ("upgrade", "upgrade", "downgrade")) -> World:
    """Make a history and a state that a few commands reached; by default in an order that the links allow."""
    history = draw(histories())
    state = State()
    typed = draw(st.lists(st.tuples(st.sampled_from(verbs), places(history)), max_size=5))
    for verb, target in typed:
        try:
            state = fold(state, plan(verb, history, state, target))
        except MigratorError:
            continue
    return World(history, state)


def places(history: History) -> st.SearchStrategy[str]:
    """Targets that look right for a history: most name a revision, a database or a label that exists."""
    ids = [str(one.key) for one in history]
    names = sorted({one.database for one in history})
    labels = sorted({label for one in history for label in history.labels(one.key)})
    return st.sampled_from(
        [
            *ids * 2,
            *(f"{each}{offset:+d}" for each in ids for offset in (-2, -1, 1)),
            *["head", "heads", "base", "+1", "+2", "-1", "-2", "+0"] * 2,
            *(f"{name}:{each}" for name in names for each in ("head", "heads", "base", "+1", "-1", "-2", "r0", "r")),
            *(f"{label}@{each}" for label in labels for each in ("head", "heads", "base", "+1", "-1", "r0")),
        ]
    )


def lower(world: World) -> st.SearchStrategy[str]:
    """Targets that a downgrade may have: what is applied, and below."""
    there = [str(key) for key in world.state.applied]
    names = sorted({key.database for key in world.state.applied})
    return st.sampled_from(
        ["base", "-1", *there * 2, *(f"{key}-1" for key in there), *(f"{name}:base" for name in names)]
    )


@st.composite
def troubled(draw: st.DrawFn) -> World:
    """Make a world in which files were edited, lost or have no downgrade, and runs have failed."""
    world = draw(worlds(verbs=("upgrade", "downgrade", "stamp", "again")))
    history = History(
        replace(one, header=replace(one.header, functions=frozenset({"upgrade"}))) if draw(rarely) else one
        for one in world.history
    )
    applied = {
        key: replace(run, checksum="sum of the old text") if draw(rarely) else run
        for key, run in world.state.applied.items()
    }
    lost = Key(draw(st.sampled_from(DATABASES)), "zz99")
    if draw(rarely):
        applied[lost] = success(lost)
    broken = [failed(str(one.key), draw(st.sampled_from(Effect))) for one in history if draw(rarely)]
    return World(history, State(applied=applied, blocked={run.key: run for run in broken}))


rarely = st.integers(0, 7).map(lambda number: number == 0)
