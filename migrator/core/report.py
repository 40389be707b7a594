"""How the databases stand, as values: the command line and the dashboard draw them, programs read them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from migrator.core.history import History
from migrator.core.protocols import Holder
from migrator.core.refusals import drifted_keys, unknown_keys
from migrator.core.revision import Key, Revision
from migrator.core.run import Run, State
from migrator.core.scripts import here

if TYPE_CHECKING:
    from migrator.core.change import Change


UNSEEN = Holder(host="", pid=0, user="", since="", doing="")
"""Stands for the holder of a lock that only the primary knows, so that a run is not taken for interrupted."""


@dataclass(frozen=True)
class Line:
    """One revision with its state.

    That is applied, pending, failed, drifted, unknown, running, interrupted, blocked or elsewhere.

    `failed` is pending, and its last upgrade failed and left nothing. `failed_run` is that run, or a downgrade that
    failed of one that is applied; `note` is then its error.
    """

    database: str
    revision: str
    title: str
    state: str
    head: bool = False
    labels: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    path: str = ""
    applied_at: str = ""
    applied_by: str = ""
    release: str = ""
    run_id: str = ""
    note: str = ""
    failed_run: str = ""


@dataclass(frozen=True)
class DatabaseReport:
    """One database: where it is, what is applied and what is not. `lines` go parents first.

    `changes` are the long changes that run or stopped on their way; `tracker` says where the tracker is, and which
    version it has.
    """

    name: str
    kind: str
    address: str
    lines: tuple[Line, ...]
    lock: str = ""
    changes: "tuple[Change, ...]" = ()
    tracker: str = ""
    follower: bool = False
    """The server only follows another: what is here may be behind it, and an upgrade needs the other."""

    def count(self, *states: str) -> int:
        """Return how many revisions are in one of these states."""
        return sum(line.state in states for line in self.lines)

    def having(self, *states: str) -> tuple[Line, ...]:
        """Return the revisions in these states."""
        return tuple(line for line in self.lines if line.state in states)

    @property
    def clean(self) -> bool:
        """Say whether nothing is to be done: everything is applied and as it was."""
        return self.count("applied", "elsewhere") == len(self.lines)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        changes = [each.as_dict() for each in self.changes]
        return {**asdict(replace(self, changes=())), "changes": changes, "clean": self.clean}


def tops(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return the newest revisions that are applied: those without an applied child."""
    applied = [line for line in lines if line.state in ("applied", "drifted", "unknown")]
    parents = {parent for line in applied for parent in line.parents}
    return tuple(line for line in applied if line.revision not in parents)


def restore_hint(database: str, lines: Sequence[Line]) -> str:
    """Return what to do about the first drifted one of these revisions."""
    drifted = next(line for line in lines if line.state == "drifted")
    accepted = " ".join(f"{database}:{line.revision}" for line in tops(lines))
    return (
        f"`migrator show {database}:{drifted.revision} --stored` prints the text that ran: restore it, or accept the "
        f"edit: `migrator stamp {accepted}`"
    )


def upgrade_command(database: str, lines: Sequence[Line]) -> str:
    """Return the command that applies everything: `head` is ambiguous where there are several."""
    return f"migrator upgrade {database}:{'heads' if sum(line.head for line in lines) > 1 else 'head'}"


def lines_of(
    history: History, state: State, database: str, holder: Holder | None, environment: str = ""
) -> tuple[Line, ...]:
    """Return the revisions of a database with their states: those with a file first, then the unknown ones.

    What is not applied and belongs to other environments than this one is `elsewhere`.
    """
    drifted, unknown = set(drifted_keys(history, state)), unknown_keys(history, state)
    running = {run.key: run for run in state.running}
    heads = set(history.heads(database))
    lines = []
    for key in (each for each in history.of(database) if not history[each].stored):
        run = running.get(key) or state.blocked.get(key) or state.resumable.get(key) or state.applied.get(key)
        word = _state_word(key, state, running, drifted, holder)
        if word in ("pending", "failed") and environment and not here(history[key], environment):
            word = "elsewhere"
        failed = state.failed.get(key) if word in ("failed", "applied") else None
        line = _line(history, key, run or failed, word, head=key in heads)
        lines.append(replace(line, note=_failure(failed), failed_run=failed.run_id) if failed else line)
    lines.extend(_unknown_line(state.applied[key]) for key in unknown if key.database == database)
    return tuple(lines)


def script_line(script: Revision, state: State) -> Line:
    """Return a script with its state: new, changed, done, running or blocked."""
    done, blocked = state.scripts.get(script.key), state.blocked.get(script.key)
    running = next((run for run in state.running if run.key == script.key), None)
    words = {"running": running, "blocked": blocked, "done": done}
    word = next((word for word, run in words.items() if run is not None), "new")
    if word == "done" and done is not None and state.is_changed(done, script.checksum):
        word = "changed"
    return Line(
        database=script.database,
        revision=script.id,
        title=script.title,
        state=word,
        parents=tuple(str(key) if key.database != script.database else key.id for key in script.depends_on),
        path=script.path,
        **_of_run(running or blocked or done),
    )


def _state_word(key: Key, state: State, running: Mapping[Key, Run], drifted: set[Key], holder: Holder | None) -> str:
    if key in running:
        return "running" if holder else "interrupted"
    if _goes_on(key, state):
        return "interrupted"
    if key in state.blocked:
        return "blocked"
    if key in drifted:
        return "drifted"
    if key in state.applied:
        return "applied"
    return "failed" if key in state.failed else "pending"


def _failure(run: Run) -> str:
    """Return a failed run in one line: when, by whom, why."""
    error = (run.error or run.reason).partition("\n")[0]
    return f"{run.direction} failed at {run.finished_at} by {run.user}@{run.host}: {error}"


def _goes_on(key: Key, state: State) -> bool:
    """Say whether a long change stopped on its way, and the next command goes on with it."""
    control = state.controls.get(key)
    return key in state.resumable and not (control is not None and control.cancelled)


def _line(history: History, key: Key, run: Run | None, word: str, *, head: bool) -> Line:
    revision = history[key]
    return Line(
        database=key.database,
        revision=key.id,
        title=revision.title,
        state=word,
        head=head,
        labels=tuple(sorted(history.labels(key))),
        parents=tuple(str(parent) if parent.database != key.database else parent.id for parent in history.parents(key)),
        path=revision.path,
        **_of_run(run),
    )


def _unknown_line(run: Run) -> Line:
    return Line(run.database, run.revision, run.title, "unknown", path=run.path, **_of_run(run))


def _of_run(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {}
    return {
        "applied_at": run.finished_at,
        "applied_by": f"{run.user}@{run.host}",
        "release": run.release,
        "run_id": run.run_id,
        "note": run.error or run.reason,
    }
