"""Which steps to take: a function of the files, the state and the target. Nothing here changes anything."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from migrator.core.errors import AmbiguousTarget, Irreversible, MultipleHeads, TargetNotFound, UsageError
from migrator.core.history import History
from migrator.core.refusals import (
    UNCHANGED,
    drifted_keys,
    refuse_ahead,
    refuse_blocked,
    refuse_cancelled,
    refuse_drift,
    refuse_half_done,
    refuse_irreversible,
    refuse_lost,
    refuse_needed,
)
from migrator.core.revision import Direction, Key, Revision
from migrator.core.run import Kind, State
from migrator.core.scripts import Scripts, changed, here
from migrator.core.target import Target

_LISTED = "`migrator history` lists the ids."


@dataclass(frozen=True)
class Step:
    """One revision in one direction. `forced` is True where an applied revision runs again because a person said so.

    `failed_of` is the origin of a long change where only the rows that it passed over are to be run. `requires` are the
    revisions whose long changes must be done before it.
    """

    revision: Revision
    direction: Direction
    forced: bool = False
    failed_of: str = ""
    requires: tuple[Key, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the step for `--json`."""
        revision = self.revision
        return {
            "database": revision.database,
            "revision": revision.id,
            "title": revision.title,
            "direction": self.direction,
            "forced": self.forced,
            "path": revision.path,
        }

    @property
    def key(self) -> Key:
        """Return the revision's key."""
        return self.revision.key

    @property
    def kind(self) -> Kind:
        """Say whether the step belongs to the order, or is a script beside it."""
        return Kind.SCRIPT if self.revision.header.is_script else Kind.REVISION

    @property
    def batched(self) -> bool:
        """Say whether the step is a long change that commits batch by batch."""
        return self.revision.batched(self.direction)

    def limit(self, default: float) -> float:
        """Return the seconds that it may take, 0 for any time: each batch of a long change has a limit of its own."""
        own = self.revision.header.timeout
        return own if own is not None else 0.0 if self.batched else default


@dataclass(frozen=True)
class Plan:
    """The ordered work of one command. It is computed, printed, run, and never stored.

    `targets` are what to type for the rest of it after one of its steps failed, each with its database.
    """

    steps: tuple[Step, ...] = ()
    targets: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        """Return its steps, of many the first."""
        first = ", ".join(f"{each.direction} {each.key}" for each in self.steps[:3])
        more = f" and {len(self) - 3} more" if len(self) > 3 else ""  # noqa: PLR2004 - those that are shown
        return f"<Plan {first or 'without steps'}{more}>"

    def as_dict(self) -> dict[str, Any]:
        """Return the steps for `--json`."""
        return {"steps": [each.as_dict() for each in self.steps]}

    def hurried(self, step: Step, default: float) -> Step | None:
        """Return the step that leaves another the least time: one that requires its backfill gives it as much as it has
        itself. None where none does.
        """
        waiting = [each for each in self._requiring if step.key in each.requires and each.limit(default)]
        return min(waiting, key=lambda each: each.limit(default), default=None)

    @cached_property
    def _requiring(self) -> tuple[Step, ...]:
        return tuple(each for each in self.steps if each.requires)

    def databases(self) -> tuple[str, ...]:
        """Return the databases that the plan changes, in order of their first step."""
        return tuple(dict.fromkeys(step.revision.database for step in self.steps))


def upgrade(
    history: History, state: State, targets: Sequence[Target], databases: Sequence[str], environment: str = ""
) -> Plan:
    """Return the steps that bring the databases up to the targets; never past them.

    `databases` are those in scope where a target names none. Cross links bring in revisions of other databases; what
    belongs to other environments than this one is left out. Raises TargetError, Drifted, DatabaseAhead or
    ResolveNeeded.
    """
    wanted: set[Key] = set()
    for target in targets:
        wanted |= _upgrade_set(history, state, target, _scope(target, databases))
    refuse_drift(history, state, {*_named(history, targets, databases), *(key.database for key in wanted)})
    todo = {key for key in wanted - state.applied.keys() if here(history[key], environment)}
    refuse_ahead(history, state, todo)
    refuse_blocked(history, state, todo, Direction.UPGRADE, under=history.ancestors(todo) - todo)
    steps = (Step(history[key], Direction.UPGRADE, requires=history.backfills(key)) for key in history.sort(todo))
    return Plan(tuple(steps), _up_to(history, targets, databases, todo))


def reach(history: History, targets: Sequence[Target], databases: Sequence[str]) -> tuple[str, ...]:
    """Return the databases that an upgrade to these targets may change or looks at, whatever their state.

    They are those that the targets name, and those of the revisions that theirs need. Raises TargetError.
    """
    named = _named(history, targets, databases)
    goals = {_goal(history, target, databases) for target in targets}
    if None in goals:  # up to a head, or as many as the state says
        goals |= {key for name in named for key in history.of(name)}
    needed = {key.database for key in history.ancestors(key for key in goals if key is not None)}
    return tuple(dict.fromkeys([*named, *sorted(needed)]))


def _named(history: History, targets: Sequence[Target], databases: Sequence[str]) -> tuple[str, ...]:
    """Return the databases that the targets name; an id names that of its revision."""
    found: list[str] = []
    for target in targets:
        goal = _goal(history, target, databases)
        found += _scope(target, databases) if goal is None else [goal.database]
    return tuple(dict.fromkeys(found))


def _goal(history: History, target: Target, databases: Sequence[str]) -> Key | None:
    """Return the revision that a target with an id means, None for any other target."""
    if target.relative or target.anchor in ("head", "heads", "base"):
        return None
    return one(history, target, _scope(target, databases))


def scope_of(targets: Sequence[Target], databases: Sequence[str]) -> tuple[str, ...]:
    """Return the databases that targets can mean, `databases` for those that name none. Raises UsageError."""
    return tuple(dict.fromkeys(name for target in targets for name in _scope(target, databases)))


def with_scripts(
    plan: Plan, scripts: Scripts, state: State, targets: Sequence[Target], databases: Sequence[str], environment: str
) -> Plan:
    """Return an upgrade with the scripts that changed behind it, where it goes all the way to the head."""
    if not all(target.anchor in ("head", "heads") and not target.label for target in targets):
        return plan
    scope = {name for target in targets for name in _scope(target, databases)}
    todo = [each for each in changed(scripts, state, tuple(scope)) if here(each, environment)]
    refuse_cancelled(state, [each.key for each in todo])
    return replace(plan, steps=(*plan.steps, *(Step(each, Direction.UPGRADE) for each in todo)))


def downgrade(history: History, state: State, targets: Sequence[Target], databases: Sequence[str]) -> Plan:
    """Return the steps that take the databases down to the targets, in reverse order of application.

    `history` must hold every applied revision (from the tracker where the file is gone). Raises TargetError, Drifted,
    DatabaseAhead, StillNeeded, Irreversible or ResolveNeeded.
    """
    doomed: set[Key] = set()
    for target in targets:
        doomed |= _downgrade_set(history, state, target, _scope(target, databases))
    refuse_drift(history, state, {key.database for key in doomed}, only=doomed)
    refuse_needed(history, state, doomed)
    refuse_irreversible(history, doomed)
    refuse_blocked(history, state, doomed, Direction.DOWNGRADE)
    refuse_half_done(history, state, doomed)
    place = {key: index for index, key in enumerate(state.applied)}
    order = history.sort(doomed, rank=place.__getitem__)
    lowest = tuple(f"{key}-1" for key in order if doomed.isdisjoint(history[key].down))
    return Plan(tuple(Step(history[key], Direction.DOWNGRADE) for key in reversed(order)), lowest)


def _up_to(history: History, targets: Sequence[Target], databases: Sequence[str], todo: set[Key]) -> tuple[str, ...]:
    """Return targets that mean the same after a part of an upgrade is done: `+2` would count from another place."""
    if any(target.relative for target in targets):
        return tuple(str(key) for key in history.sort(todo) if todo.isdisjoint(history.line_children(key)))
    return tuple(
        target.text if target.database else f"{name}:{target.text}"
        for target in targets
        for name in _scope(target, databases)
    )


def back(scripts: Sequence[Revision]) -> Plan:
    """Return the steps that take back what scripts did, the last first. Raises Irreversible."""
    for each in scripts:
        if not each.reversible:
            raise Irreversible(
                f"{each.key} ({each.title}) has no downgrade: {each.path}", state=UNCHANGED, hint="Write its downgrade."
            )
    return Plan(tuple(Step(each, Direction.DOWNGRADE) for each in reversed(scripts)))


def again(history: History, state: State, targets: Sequence[Target], databases: Sequence[str]) -> Plan:
    """Return the steps that run applied revisions once more, forced."""
    keys = {one(history, target, _scope(target, databases)) for target in targets}
    for key in keys:
        if key not in state.applied:
            raise TargetNotFound(
                f"{key} is not applied, so it cannot run again",
                state=UNCHANGED,
                hint=f"`migrator upgrade {key}` applies it in the ordinary way.",
            )
    return Plan(tuple(Step(history[key], Direction.UPGRADE, forced=True) for key in history.sort(keys)))


def stamp(history: History, state: State, targets: Sequence[Target], databases: Sequence[str]) -> Plan:
    """Return what to write so that the tracker says: the databases are at the targets.

    What is applied beyond a target goes down; what is missing or drifted below it goes up; branches and databases
    beside it stay as they are. Nothing is to be run.
    """
    sets = [_stamp_sets(history, state, target, _scope(target, databases)) for target in targets]
    wanted = set[Key]().union(*(below for below, _ in sets))
    beyond = set[Key]().union(*(above for _, above in sets)) & state.applied.keys()
    drifted = set(drifted_keys(history, state))
    up = [key for key in history.sort(wanted) if key not in state.applied or key in drifted]
    down = reversed(history.sort(beyond - wanted))
    return Plan(
        (
            *(Step(history[key], Direction.DOWNGRADE) for key in down),
            *(Step(history[key], Direction.UPGRADE, forced=key in state.applied) for key in up),
        )
    )


def _scope(target: Target, databases: Sequence[str]) -> tuple[str, ...]:
    if not target.database:
        return tuple(databases)
    if target.database not in databases:
        raise UsageError(
            f"{target.text!r}: there is no database {target.database!r} here",
            state=UNCHANGED,
            hint="Known: " + ", ".join(databases),
        )
    return (target.database,)


def _upgrade_set(history: History, state: State, target: Target, scope: tuple[str, ...]) -> set[Key]:
    if target.anchor == "base" or (target.relative and target.offset < 0):
        raise UsageError(
            f"upgrade cannot go to {target.text!r}",
            state=UNCHANGED,
            hint=f"Did you mean `migrator downgrade {target.text}`?",
        )
    if target.relative:
        return _next(history, state, target, scope)
    if target.anchor in ("head", "heads"):
        return history.ancestors(_heads(history, target, scope))
    return history.ancestors([one(history, target, scope)])


def _stamp_sets(history: History, state: State, target: Target, scope: tuple[str, ...]) -> tuple[set[Key], set[Key]]:
    """Return what stands at or below a target in its own database, and what stands beyond it."""
    if target.relative:
        raise UsageError(f"stamp cannot count to {target.text!r}", state=UNCHANGED, hint=_LISTED)
    if target.anchor == "base":
        return set(), _downgrade_set(history, state, target, scope)
    whole = target.anchor in ("head", "heads")
    goals = _heads(history, target, scope) if whole else [one(history, target, scope)]
    named = {goal.database for goal in goals}
    return {key for key in history.ancestors(goals) if key.database in named}, history.descendants(goals) - {*goals}


def _heads(history: History, target: Target, scope: tuple[str, ...]) -> list[Key]:
    found: list[Key] = []
    for database in scope:
        if target.label and not any(target.label in history.labels(key) for key in history.of(database)):
            continue
        heads = history.heads(database, target.label)
        if target.anchor == "head" and len(heads) > 1:
            listed = ", ".join(f"{key.id} ({history[key].title})" for key in heads)
            raise MultipleHeads(
                f"{database} has {len(heads)} heads: {listed}",
                state=UNCHANGED,
                hint="`migrator upgrade heads` applies all; "
                f"`migrator new -d {database} merge {' '.join(f'--head {key.id}' for key in heads)}` joins them.",
            )
        found.extend(heads)
    if target.label and not found:
        history.branch(scope[0], target.label)
    return found


def _next(history: History, state: State, target: Target, scope: tuple[str, ...]) -> set[Key]:
    lines = {name: history.line(name, target.label) for name in scope}
    if target.label and not any(lines.values()):
        history.branch(scope[0], target.label)  # which says that there is no such label
    waiting = {name: [key for key in line if key not in state.applied] for name, line in lines.items()}
    ready = {name: keys for name, keys in waiting.items() if keys}
    if not ready:
        return set()
    if len(ready) > 1:
        commands = ", ".join(f"`migrator upgrade {name}:{target.text}`" for name in ready)
        raise AmbiguousTarget(
            f"{target.text} may mean {' or '.join(ready)}", state=UNCHANGED, hint=f"Say which: {commands}"
        )
    ((database, keys),) = ready.items()
    if target.offset > len(keys):
        branch, where = (f"{target.label}@", f" in {target.label}") if target.label else ("", "")
        whole = "heads" if len(history.heads(database, target.label)) > 1 else "head"
        raise TargetNotFound(
            f"{database} has {len(keys)} pending{where}, and {target.text} asks for more",
            state=UNCHANGED,
            hint=f"`migrator upgrade {database}:{branch}{whole}` applies all of them.",
        )
    left = set(keys)
    for _ in range(target.offset):
        able = [key for key in keys if key in left and left.isdisjoint(history[key].down)]
        if len(able) != 1:
            raise AmbiguousTarget(
                f"{database} branches here, so {target.text} is not unique",
                state=UNCHANGED,
                hint="Say which: " + ", ".join(f"`migrator upgrade {key}`" for key in able),
            )
        left.remove(able[0])
    return history.ancestors(set(keys) - left)


def one(history: History, target: Target, scope: tuple[str, ...]) -> Key:
    """Return the one revision that a target with an id means, its offset walked along the line."""
    if target.label:
        scope = tuple(name for name in scope if any(target.label in history.labels(key) for key in history.of(name)))
    if not target.anchor or target.anchor in ("head", "heads", "base") or not scope:
        raise TargetNotFound(f"{target.text!r} names no revision", state=UNCHANGED, hint=_LISTED)
    key = history.find(target.anchor, scope)
    if target.label and key not in history.line(key.database, target.label):
        raise TargetNotFound(
            f"{target.text}: {key} is not on the branch {target.label}, nor below it",
            state=UNCHANGED,
            hint=f"Write `{key}` without the label, or `{key.database}:{target.label}@head` for the end of the branch.",
        )
    for _ in range(abs(target.offset)):
        key = _neighbour(history, key, target)
    return key


def _neighbour(history: History, key: Key, target: Target) -> Key:
    around = history.line_children(key) if target.offset > 0 else history[key].down
    if target.label and len(around) > 1:
        line = history.line(key.database, target.label)
        around = tuple(each for each in around if each in line)
    if len(around) == 1:
        return around[0]
    side = "after" if target.offset > 0 else "before"
    if around:
        listed = ", ".join(each.id for each in around)
        raise AmbiguousTarget(
            f"{target.text}: {side} {key.id} the history branches: {listed}", state=UNCHANGED, hint="Name one of them."
        )
    raise TargetNotFound(f"{target.text}: there is nothing {side} {key.id}", state=UNCHANGED, hint=_LISTED)


def _downgrade_set(history: History, state: State, target: Target, scope: tuple[str, ...]) -> set[Key]:
    refuse_lost(history, state, scope)
    applied = [key for key in state.applied if key.database in scope]
    if target.label:
        applied = [key for key in applied if target.label in history.labels(key)]
    if target.anchor in ("head", "heads") or (target.relative and target.offset > 0):
        raise UsageError(
            f"downgrade cannot go to {target.text!r}",
            state=UNCHANGED,
            hint=f"Did you mean `migrator upgrade {target.text}`?",
        )
    if target.anchor == "base":
        return set(applied)
    if target.relative:
        return _last(history, target, applied)
    return _above(history, state, target, scope)


def _above(history: History, state: State, target: Target, scope: tuple[str, ...]) -> set[Key]:
    """Return what is applied above `id`; with `id-n`, what `id` and n-1 parents below it carry, those included."""
    if target.offset < 0:
        nearer = Target(target.text, target.database, target.label, target.anchor, target.offset + 1)
        lowest = one(history, nearer, scope)
        above = history.descendants([lowest])
    else:
        lowest = one(history, target, scope)
        above = history.descendants([lowest]) - {lowest}
    if lowest not in state.applied:
        raise TargetNotFound(
            f"{lowest} is not applied, so there is nothing to take down to it",
            state=UNCHANGED,
            hint="`migrator status` shows what is applied.",
        )
    if target.label and target.label not in history.labels(lowest):  # below the branch: the other branches stay
        above = {key for key in above if key == lowest or target.label in history.labels(key)}
    return above & state.applied.keys()


def _last(history: History, target: Target, applied: list[Key]) -> set[Key]:
    """Return the last n applied revisions, where it is beyond doubt which they are."""
    left = set(applied)
    doomed: set[Key] = set()
    for _ in range(-target.offset):
        tops = [key for key in left if not any(child in left for child in _standing_on(history, key))]
        if not tops:
            raise TargetNotFound(
                f"{target.text}: only {len(doomed)} applied"
                if doomed
                else f"nothing {f'of {target.label} ' * bool(target.label)}is applied",
                state=UNCHANGED,
                hint="`migrator downgrade base` takes all of them down." if doomed else "`migrator status` shows it.",
            )
        if len(tops) > 1:
            tops = [key for key in applied if key in tops]
            last = ", ".join(f"{key} ({history[key].title})" for key in tops)
            commands = " or ".join(f"`migrator downgrade {_command_for(key, target, tops)}`" for key in tops)
            raise AmbiguousTarget(
                f"{target.text} may mean more than one last step: {last}",
                state=UNCHANGED,
                hint=f"Say which: {commands}",
            )
        doomed.add(tops[0])
        left.remove(tops[0])
    return doomed


def _standing_on(history: History, key: Key) -> list[Key]:
    """Return what has to go down before a revision in its own database: its children, and what depends on it."""
    return [child for child in history.children(key) if child.database == key.database]


def _command_for(key: Key, target: Target, tops: Sequence[Key]) -> str:
    alone = sum(top.database == key.database for top in tops) == 1
    return f"{key.database}:{target.text.rpartition(':')[2]}" if alone else f"{key}-1"
