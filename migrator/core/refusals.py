"""When no plan is made: what would do harm is refused before anything changes."""

from collections.abc import Iterable

from migrator.core.errors import DatabaseAhead, Drifted, Irreversible, ResolveNeeded, StillNeeded
from migrator.core.history import History
from migrator.core.revision import Direction, Key
from migrator.core.run import State
from migrator.core.wording import counted

UNCHANGED = "Nothing was changed."

GIVEN_UP = "given up"
"""The reason of a long change that a person ended with `migrator cancel`."""


def refuse_drift(history: History, state: State, databases: set[str], only: set[Key] | None = None) -> None:
    """Raise Drifted where a revision of these databases (or only these keys) is not what ran."""
    drifted = [
        key for key in drifted_keys(history, state) if key.database in databases and (only is None or key in only)
    ]
    if drifted:
        listed = ", ".join(f"{key} ({history[key].path})" for key in drifted)
        raise Drifted(
            f"changed since it was applied: {listed}",
            state=UNCHANGED,
            hint=f"Restore the text (`migrator show {drifted[0]} --stored` prints what ran), or accept the edit: "
            f"`migrator stamp {' '.join(str(key) for key in _tops(history, state, drifted))}`",
        )


def _tops(history: History, state: State, drifted: list[Key]) -> list[Key]:
    """Return the newest applied revisions of the databases that have drifted ones."""
    databases = {key.database for key in drifted}
    members = [key for key in state.applied if key.database in databases and key in history]
    return [key for key in members if not any(child in state.applied for child in history.line_children(key))]


def drifted_keys(history: History, state: State) -> tuple[Key, ...]:
    """Return the applied revisions whose file is not what ran."""
    return tuple(
        key for key, run in state.applied.items() if key in history and state.is_changed(run, history[key].checksum)
    )


def unknown_keys(history: History, state: State) -> tuple[Key, ...]:
    """Return the applied revisions that have no file."""
    return tuple(key for key in state.applied if key not in history or history[key].stored)


def refuse_ahead(history: History, state: State, todo: set[Key]) -> None:
    """Raise DatabaseAhead where there is work to do in a database that has revisions these files do not have."""
    unknown = [key for key in unknown_keys(history, state) if key.database in {each.database for each in todo}]
    if unknown:
        run = state.applied[unknown[-1]]
        raise DatabaseAhead(
            f"{run.database} is ahead of these files: {', '.join(str(key) for key in unknown)} "
            f"applied {run.finished_at} by {run.user}@{run.host} from release {run.release or 'unknown'}, no file here",
            state=f"{UNCHANGED} Pending of these files: {counted(len(todo), 'revision')}.",
            hint="Deploy the release that has these files, or take them down first: "
            f"`migrator downgrade {unknown[0]}-1` (the tracker kept their text).",
        )


def refuse_lost(history: History, state: State, databases: Iterable[str]) -> None:
    """Raise DatabaseAhead where the place of an applied revision is not known: no file, no text in the tracker."""
    scope = set(databases)
    lost = [key for key in state.applied if key.database in scope and key not in history]
    if lost:
        raise DatabaseAhead(
            f"applied, but without a file here or a text in the tracker: {', '.join(str(key) for key in lost)}",
            state=UNCHANGED,
            hint="Restore the file, or run the command from the release that has it.",
        )


def refuse_blocked(
    history: History, state: State, todo: set[Key], direction: Direction, under: Iterable[Key] = ()
) -> None:
    """Raise ResolveNeeded where a revision to run was left half done and does not say that it may run again, or
    where one `under` those to run was (a downgrade or a forced run of an applied revision that failed).

    A long change goes on where it stopped: Drifted where its file is not what began it.
    """
    refuse_cancelled(state, todo)
    on = {key for key in todo if _continues(state, key, direction)}
    _refuse_other_text(history, state, on)
    repeated = on | {key for key in todo if history[key].header.rerunnable}
    for key in history.sort({*todo, *under} - repeated):
        run = state.blocked.get(key)
        if run is not None:
            raise ResolveNeeded(
                f"{key} ({run.title}): the last {run.direction} {run.run_id} failed, "
                f"its effect is {run.effect}: {run.error}",
                state=f"{run.database} may hold a part of it. Nothing was changed now.",
                hint=f"Look at it, then decide: `migrator resolve {run.run_id} "
                '--retry | --mark-success | --mark-rolled-back --reason "..."`',
            )


def refuse_cancelled(state: State, todo: Iterable[Key]) -> None:
    """Raise ResolveNeeded where a person cancelled a long change, and nobody has let it go on since."""
    for key in todo:
        control = state.controls.get(key)
        if control is not None and control.cancelled:
            run = state.resumable[key]
            raise ResolveNeeded(
                f"{key} ({run.title}): its {run.direction} {run.run_id} was cancelled by {control.by} "
                f"at {control.at}: {control.reason}",
                state=f"A part of it is in {run.database}, and its checkpoint is kept. Nothing was changed now.",
                hint=f"`migrator resume {run.run_id}` lets the next {run.direction} go on at the checkpoint; "
                f'`migrator resolve {run.run_id} --mark-success | --mark-rolled-back --reason "..."` settles it.',
            )


def refuse_half_done(history: History, state: State, doomed: set[Key]) -> None:
    """Raise ResolveNeeded where a revision that needs one to take down may be there in part.

    What it left may stop the downgrade in the middle, or lose what it stands on; a long change would continue at its
    checkpoint afterwards, over rows that are not those that it has seen.
    """
    left = {**state.resumable, **state.blocked}
    for key in history.sort(history.dependents(doomed) & left.keys()):
        run = left[key]
        if run.direction is not Direction.UPGRADE or key in doomed:
            continue
        first = "Finish it" if key in state.resumable else "Decide what it left"
        command = f"upgrade {key}" if key in state.resumable else f'resolve {run.run_id} --retry --reason "..."'
        raise ResolveNeeded(
            f"{key} ({run.title}) depends on what is to go down, and a part of it may be in {run.database}",
            state=UNCHANGED,
            hint=f"{first}: `migrator {command}`; or undo by hand what it did, and record that: "
            f'`migrator resolve {run.run_id} --mark-rolled-back --reason "..."`',
        )


def _refuse_other_text(history: History, state: State, on: set[Key]) -> None:
    """Raise Drifted where a long change would go on with another text than it began with."""
    for key in history.sort(on):
        run = state.resumable[key]
        if state.is_changed(run, history[key].checksum) and not history[key].header.rerunnable:
            raise Drifted(
                f"{key} ({history[key].path}) changed since run {run.run_id}, which did a part of it",
                state=f"What that run did is in {run.database}. " + UNCHANGED,
                hint="Restore the text; or go on at the checkpoint with the new one: "
                f'`migrator resolve {run.run_id} --retry --reason "..."`; or undo by hand what it did, and begin anew: '
                f'`migrator resolve {run.run_id} --mark-rolled-back --reason "..."`',
            )


def _continues(state: State, key: Key, direction: Direction) -> bool:
    """Say whether the next run goes on where the last one stopped."""
    last = state.resumable.get(key)
    return last is not None and last.direction is direction and state.blocked.get(key) in (None, last)


def refuse_needed(history: History, state: State, doomed: set[Key]) -> None:
    """Raise StillNeeded where an applied revision that stays stands on one that is to go."""
    needing = {
        child: key
        for key in doomed
        for child in history.children(key)
        if child in state.applied and child not in doomed
    }
    if not needing:
        return
    whole = set(doomed)
    frontier = set(needing)
    while frontier:
        whole |= history.descendants(frontier) & state.applied.keys()
        frontier = {child for key in whole for child in history.children(key) if child in state.applied} - whole
    lowest = [key for key in history.sort(whole) if not any(parent in whole for parent in history[key].down)]
    listed = ", ".join(f"{child} depends on {key}" for child, key in sorted(needing.items()))
    raise StillNeeded(
        f"cannot go down alone: {listed}",
        state=UNCHANGED,
        hint="This takes both down: `migrator downgrade " + " ".join(f"{key}-1" for key in lowest) + "`",
    )


def refuse_irreversible(history: History, doomed: set[Key]) -> None:
    """Raise Irreversible where a revision to take down has no downgrade."""
    lowest = " ".join(f"{key}-1" for key in history.sort(doomed) if doomed.isdisjoint(history[key].down))
    for key in reversed(history.sort(doomed)):
        if not history[key].reversible:
            raise Irreversible(
                f"{key} ({history[key].title}) has no downgrade: {history[key].path}",
                state=UNCHANGED,
                hint=f"Write its downgrade, then run `migrator downgrade {lowest}`; or restore a backup; or repair "
                "forward with a new revision.",
            )
