"""Short ways to write histories, states and targets down."""

import re
from collections.abc import Callable, Iterable, Sequence

from migrator.core import plan as planning
from migrator.core.history import History
from migrator.core.plan import Plan
from migrator.core.revision import Direction, Header, Key, Revision, key_of
from migrator.core.run import Effect, Run, State, Status
from migrator.core.target import Target

Planner = Callable[[History, State, Sequence[Target], Sequence[str]], Plan]

PLANNERS: dict[str, Planner] = {
    "upgrade": planning.upgrade,
    "downgrade": planning.downgrade,
    "stamp": planning.stamp,
    "again": planning.again,
}


def key(text: str) -> Key:
    """Read `id` (of the database app) or `database:id`."""
    return key_of(text, "app")


def keys(text: str) -> tuple[Key, ...]:
    """Read several keys with blanks between them."""
    return tuple(key(word) for word in text.split())


def words(chosen: Iterable[Key]) -> str:
    """Write keys as `keys` reads them."""
    return " ".join(each.id if each.database == "app" else str(each) for each in chosen)


def revision(
    name: str,
    down: str = "",
    *,
    needs: str = "",
    labels: str = "",
    reversible: bool = True,
    rerunnable: bool = False,
    stored: bool = False,
) -> Revision:
    """Make a revision; `down`, `needs` (depends_on) and `labels` have blanks between their words."""
    its = key(name)
    return Revision(
        database=its.database,
        path=f"revisions/{its.database}/{its.id}.py",
        source=f"text of {its}",
        checksum=f"sum of {its}",
        stored=stored,
        header=Header(
            revision=its.id,
            down_revision=tuple(down.split()),
            depends_on=tuple(needs.split()),
            branch_labels=tuple(labels.split()),
            rerunnable=rerunnable,
            title=f"Title of {its.id}",
            functions=frozenset({"upgrade", "downgrade"} if reversible else {"upgrade"}),
        ),
    )


def line(ids: str, database: str = "app") -> list[Revision]:
    """Make a history without branches: every revision has the one before it as its parent."""
    names = ids.split()
    return [
        revision(f"{database}:{name}", below) for name, below in zip(names, ["", *names[:-1]], strict=True)
    ]  # fmt: skip


def success(its: Key, checksum: str = "") -> Run:
    """Make the run that applied a revision; by default with the checksum of its file."""
    return Run(
        run_id=f"run-{its.id}",
        database=its.database,
        revision=its.id,
        title=f"Title of {its.id}",
        status=Status.SUCCESS,
        effect=Effect.FULL,
        checksum=checksum or f"sum of {its}",
        finished_at="2026-11-20T10:30:00Z",
        user="ann",
        host="pod-1",
        release="v7",
    )


def failed(name: str, effect: Effect = Effect.PARTIAL, direction: Direction = Direction.UPGRADE) -> Run:
    """Make a run that left something behind."""
    its = key(name)
    return Run(
        run_id=f"bad-{its.id}",
        database=its.database,
        revision=its.id,
        direction=direction,
        status=Status.FAILED,
        effect=effect,
        error="it broke",
    )


def state(applied: str = "", *, drifted: str = "", blocked: Iterable[Run] = ()) -> State:
    """Make a state from the applied revisions in order; the drifted ones among them ran with another text."""
    edited = keys(drifted)
    return State(
        applied={each: success(each, "sum of the old text" if each in edited else "") for each in keys(applied)},
        blocked={run.key: run for run in blocked},
    )


def fold(before: State, plan: Plan) -> State:
    """Return the state after a plan went well."""
    applied = dict(before.applied)
    for step in plan.steps:
        applied.pop(step.key, None)
        if step.direction is Direction.UPGRADE:
            applied[step.key] = success(step.key)
    return State(applied=applied, blocked=dict(before.blocked))


def plan(verb: str, history: History, before: State, targets: str, databases: str = "") -> Plan:
    """Make a plan as the command `migrator VERB TARGETS` would, over all databases unless some are named."""
    known = tuple(dict.fromkeys([*(one.database for one in history), *(each.database for each in before.applied)]))
    parsed = [Target.parse(text) for text in targets.split()]
    return PLANNERS[verb](history, before, parsed, tuple(databases.split()) or known)


def steps(made: Plan) -> str:
    """Write a plan as a line: `-b` goes down, `a` goes up, `a!` goes up by force."""
    signs = {Direction.UPGRADE: "", Direction.DOWNGRADE: "-"}
    return " ".join(signs[step.direction] + words([step.key]) + "!" * step.forced for step in made.steps)


def commands(hint: str) -> list[tuple[str, str]]:
    """Return the commands that a hint tells a person to type, as (verb, targets)."""
    return [(verb, targets) for verb, targets in re.findall(r"`migrator (upgrade|downgrade|stamp) ([^`]+)`", hint)]
