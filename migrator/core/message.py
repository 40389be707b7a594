"""From events to the few messages that people are sent: what happened, what state the database is in, what to type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from migrator.core.data_state import describe_effect
from migrator.core.events import (
    DeployBegun,
    DeployEnded,
    Event,
    LockTaken,
    LockWaiting,
    PlanMade,
    RunSettled,
    Throttled,
)
from migrator.core.revision import Direction, Key
from migrator.core.run import Effect, Run, Status
from migrator.core.secrets import Mask

LISTED = 20
"""How many runs a message names one by one."""

KEPT = 100
"""How many runs are in its document, the last ones."""


class Kind(StrEnum):
    """What a message is about; the words of `on` in migrator.toml."""

    SUCCESS = "success"
    FAILURE = "failure"
    INTERRUPTED = "interrupted"
    LOCK_WAIT = "lock_wait"
    THROTTLED = "throttled"


@dataclass(frozen=True, kw_only=True)
class Message:
    """What one message says. `what`, `state` and `next` are whole sentences; no field holds a secret.

    `tags` are those of all revisions that it is about.
    """

    kind: Kind
    environment: str
    title: str
    what: str
    state: str
    next: str
    command: str = ""
    deploy_id: str = ""
    databases: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()
    tags: frozenset[str] = frozenset()

    def words(self) -> Mapping[str, str]:
        """Return what a template may name."""
        return {
            "kind": self.kind,
            "environment": self.environment,
            "title": self.title,
            "what": self.what,
            "state": self.state,
            "next": self.next,
            "command": self.command,
            "deploy_id": self.deploy_id,
            "databases": ", ".join(self.databases),
        }

    def text(self) -> str:
        """Return the message as plain text."""
        return f"{self.title}\n\n{self.what}\n\nState: {self.state}\nNext: {self.next}"

    def as_dict(self) -> dict[str, Any]:
        """Return the message as a document, its runs by their main fields."""
        return {**self.words(), "databases": self.databases, "tags": sorted(self.tags), "runs": _rows(self.runs)}


HEARD: frozenset[type] = frozenset(
    {DeployBegun, PlanMade, LockWaiting, LockTaken, Throttled, RunSettled, DeployEnded},
)
"""The events that matter for messages: none of them comes with every step or batch."""

WORDS = tuple(Message(kind=Kind.SUCCESS, environment="", title="", what="", state="", next="").words())
"""The names that a template may use, each with a $ before it."""


class Messages:
    """Hears the events of one channel, in order, and says what there is to send. `patience` is in seconds.

    A wait for a lock is told once it has lasted that long, a throttle once for each run and kind of reason.
    """

    def __init__(self, environment: str, patience: float, mask: Mask) -> None:
        self._environment = environment
        self._patience = patience
        self._mask = mask
        self._command = DeployBegun("", "", ())
        self._tags: dict[Key, frozenset[str]] = {}
        self._told: set[tuple[str, ...]] = set()

    def hear(self, event: Event) -> Message | None:
        """Take one event in, and return the message that it calls for, None where it calls for none."""
        message = self._message(event)
        return message and self._masked(message)

    def _message(self, event: Event) -> Message | None:
        if isinstance(event, DeployBegun):
            self._command = event
        elif isinstance(event, PlanMade):
            self._tags |= {step.key: frozenset(step.revision.header.tags) for step in event.plan.steps}
        elif isinstance(event, LockTaken):
            self._told.discard(("lock", event.database))
        elif isinstance(event, LockWaiting):
            long = event.waited >= self._patience
            return self._waits(event) if long and self._first("lock", event.database) else None
        elif isinstance(event, Throttled):
            return self._throttled(event) if self._first(event.run.run_id, event.reason.partition(":")[0]) else None
        elif isinstance(event, RunSettled):
            return self._settled(event)
        elif isinstance(event, DeployEnded):
            return self._ended(event)
        return None

    def _first(self, *what: str) -> bool:
        """Say whether this has not been told yet; from now on it has."""
        new = what not in self._told
        self._told.add(what)
        return new

    def _waits(self, event: LockWaiting) -> Message:
        return self._new(
            Kind.LOCK_WAIT,
            f"{self._command.command or 'a command'} has waited {event.waited:.0f} s for the lock of {event.database}",
            what=event.holder,
            state="The command that waits has changed nothing.",
            next=f"Wait, or type `migrator unlock -d {event.database}`: it shows the holder, and can end it.",
            databases=(event.database,),
        )

    def _throttled(self, event: Throttled) -> Message:
        run = event.run
        return self._new(
            Kind.THROTTLED,
            f"{_named(run)} stands still",
            what=f"The throttle holds it back: {event.reason}",
            state="Every batch before this one is committed.",
            next="Nothing, if the reason goes away: it goes on by itself. `migrator status` shows where it is.",
            runs=(run,),
        )

    def _settled(self, event: RunSettled) -> Message:
        run = event.run
        self._tags.setdefault(run.key, frozenset(event.tags))
        return self._new(
            Kind.INTERRUPTED,
            f"an interrupted {run.direction} of {_named(run)} was found",
            what=f"Its owner, {run.user}@{run.host} pid {run.pid}, ended without a word (run {run.run_id}). "
            f"It is recorded as {run.status}, effect {run.effect}.",
            state=describe_effect(run),
            next=_after_interruption(run),
            runs=(run,),
        )

    def _ended(self, event: DeployEnded) -> Message | None:
        if event.error is None and not event.runs:
            return None
        bad = [run for run in event.runs if run.status is Status.FAILED]
        message = self._failed(event, bad) if event.error or bad else self._done(event)
        return replace(message, command=event.command, deploy_id=event.deploy_id)

    def _done(self, event: DeployEnded) -> Message:
        count, databases = len(event.runs), dict.fromkeys(run.database for run in event.runs)
        return self._new(
            Kind.SUCCESS,
            f"{event.command} done: {count} revision{'s' * (count != 1)} ({', '.join(databases)})",
            what=_listed(event.runs),
            state="Every one of them is in the tracker as done.",
            next="Nothing.",
            runs=event.runs,
        )

    def _failed(self, event: DeployEnded, bad: Sequence[Run]) -> Message:
        """Return what the error says; where several scripts ran side by side there is none, and each says its own."""
        title = f"{event.command} failed" + "".join(f" at {_named(run)}" for run in bad[-1:])
        if error := event.error:
            what, state, after = error.message, error.state, error.hint
        else:
            what = "\n".join(f"{_named(run)}: {run.error}" for run in bad[:LISTED])
            state = " ".join(f"{run.key}: effect {run.effect}." for run in bad[:LISTED])
            after = f"`migrator runs show {bad[-1].run_id}` has the details; then correct it and run it again."
        return self._new(Kind.FAILURE, title, what=what, state=state, next=after, runs=event.runs)

    def _new(
        self,
        kind: Kind,
        title: str,
        *,
        what: str,
        state: str,
        next: str,  # noqa: A002 - the field's name
        runs: tuple[Run, ...] = (),
        databases: tuple[str, ...] = (),
    ) -> Message:
        return Message(
            kind=kind,
            environment=self._environment,
            title=f"{self._environment}: {title}",
            what=what,
            state=state,
            next=next,
            command=self._command.command,
            deploy_id=self._command.deploy_id,
            databases=databases or tuple(dict.fromkeys(run.database for run in runs)) or self._command.databases,
            runs=runs[-KEPT:],
            tags=frozenset().union(*(self._tags.get(run.key, frozenset()) for run in runs)),
        )

    def _masked(self, message: Message) -> Message:
        runs = tuple(
            replace(run, title=self._mask(run.title), reason=self._mask(run.reason), error=self._mask(run.error))
            for run in message.runs
        )
        return replace(
            message,
            title=self._line(message.title),
            what=self._mask(message.what),
            state=self._line(message.state),
            next=self._line(message.next),
            runs=runs,
        )

    def _line(self, text: str) -> str:
        return " ".join(self._mask(text).split())


def _named(run: Run) -> str:
    return f"{run.key} ({run.title})" if run.title else str(run.key)


def _after_interruption(run: Run) -> str:
    if run.status is Status.SUCCESS:
        return "Nothing."
    if run.effect in (Effect.NONE, Effect.PARTIAL):
        place = "head" if run.direction is Direction.UPGRADE else "-1"
        again = f"`migrator {run.direction} {run.database}:{place}`"
        return f"Nothing, if the command that found it does well; otherwise {again}."
    return (
        f"Look at what it left, then decide: `migrator resolve {run.run_id} "
        '--retry | --mark-success | --mark-rolled-back --reason "..."`'
    )


def _listed(runs: Sequence[Run]) -> str:
    lines = [f"{run.direction} {run.key} {run.title} ({run.duration_ms or 0:.0f} ms)" for run in runs[:LISTED]]
    more = [f"and {len(runs) - LISTED} more"] if len(runs) > LISTED else []
    return "\n".join([*lines, *more])


_FIELDS = ("run_id", "database", "revision", "title", "kind", "direction", "status", "effect", "reason", "error")


def _rows(runs: tuple[Run, ...]) -> list[dict[str, Any]]:
    return [{**{name: getattr(run, name) for name in _FIELDS}, "duration_ms": run.duration_ms} for run in runs]
