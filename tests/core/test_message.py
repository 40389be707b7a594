"""Which events are worth a message, and what it says."""

from dataclasses import replace
from typing import Any

import pytest

from migrator.core.channel import Channel
from migrator.core.errors import LockHeld
from migrator.core.events import (
    BatchDone,
    DeployBegun,
    DeployEnded,
    Event,
    LockTaken,
    LockWaiting,
    PlanMade,
    RunFinished,
    RunSettled,
    Throttled,
    Unthrottled,
)
from migrator.core.history import History
from migrator.core.message import LISTED, WORDS, Kind, Message, Messages
from migrator.core.plan import Plan
from migrator.core.run import Effect, State, Status
from migrator.core.secrets import Mask

from .build import failed, key, line, plan, state, success

DONE = success(key("a"))
BAD = failed("b", Effect.NONE)


def heard(*events: Event, patience: float = 60.0, mask: Mask | None = None) -> list[Message]:
    """Return the messages of a series of events."""
    messages = Messages("staging", patience, mask or Mask(()))
    return [message for event in events if (message := messages.hear(event))]


def settled(status: Status, effect: Effect) -> RunSettled:
    """Make the event of an interrupted run with its judgement."""
    return RunSettled(replace(BAD, status=status, effect=effect, user="ann", host="pod-1", pid=7))


@pytest.mark.parametrize(
    "event",
    [
        DeployBegun("d1", "upgrade", ("app",)),
        PlanMade(Plan(()), History([]), State(), ("app",)),
        RunFinished(DONE, 1, 1),
        LockTaken("app", 90.0),
        LockWaiting("app", "held by ann", 59.9),
        BatchDone(DONE, 10, 10, 0.5),
        Unthrottled(DONE, "replica lag", 3.0),
        DeployEnded("d1", "upgrade"),
    ],
)
def test_what_is_no_message(event: Event) -> None:
    """What is not worth an interruption of somebody's day is told to nobody, a deploy without work among it."""
    assert heard(event) == []


def test_a_wait_is_told_once_each_time() -> None:
    """A long wait is one message; after the lock was had, the next long wait is another."""
    wait = [LockWaiting("app", "held by ann", seconds) for seconds in (0.0, 61.0, 63.0)]
    said = heard(DeployBegun("d1", "upgrade", ("app",)), *wait, LockTaken("app", 64.0), *wait)
    assert [message.kind for message in said] == [Kind.LOCK_WAIT, Kind.LOCK_WAIT]
    assert said[0].title == "staging: upgrade has waited 61 s for the lock of app"
    assert (said[0].what, said[0].databases, said[0].deploy_id) == ("held by ann", ("app",), "d1")


def test_a_throttle_is_told_once_for_each_reason() -> None:
    """A change that stops and goes for one reason is one message; another reason is another."""
    lag, more, lock = (Throttled(DONE, reason) for reason in ("lag: 4 s", "lag: 5 s", "waiters: 2"))
    said = heard(lag, Unthrottled(DONE, "lag: 4 s", 1.0), more, lock)
    assert [message.what for message in said] == [
        "The throttle holds it back: lag: 4 s",
        "The throttle holds it back: waiters: 2",
    ]


@pytest.mark.parametrize(
    ("status", "effect", "state", "after"),
    [
        (Status.SUCCESS, Effect.FULL, "All of app:b is in app.", "Nothing."),
        (Status.FAILED, Effect.NONE, "nothing of app:b is in app.", "`migrator upgrade app:head`"),
        (Status.FAILED, Effect.PARTIAL, "A part of app:b is in app", "`migrator upgrade app:head`"),
        (Status.FAILED, Effect.UNKNOWN, "may still be in app.", "`migrator resolve bad-b --retry"),
    ],
)
def test_an_interruption_says_what_is_left(status: Status, effect: Effect, state: str, after: str) -> None:
    """What an interrupted run left decides what is to be typed."""
    (message,) = heard(settled(status, effect))
    assert message.kind is Kind.INTERRUPTED
    assert "ann@pod-1 pid 7" in message.what
    assert state in message.state
    assert after in message.next


def test_the_end_of_a_deploy() -> None:
    """A success lists its runs, a failure says what its error says, whichever deploy it is."""
    error = LockHeld("the lock is held", state="Nothing was changed.", hint="Wait.")
    good, bad, early = heard(
        DeployEnded("d1", "upgrade", (DONE,)),
        DeployEnded("d2", "downgrade", (DONE, BAD), error),
        DeployEnded("d3", "upgrade", (), error),
    )
    assert (good.title, good.deploy_id) == ("staging: upgrade done: 1 revision (app)", "d1")
    assert good.what == "upgrade app:a Title of a (0 ms)"
    assert (bad.title, bad.command) == ("staging: downgrade failed at app:b", "downgrade")
    assert (bad.what, bad.state, bad.next) == ("the lock is held", "Nothing was changed.", "Wait.")
    assert early.title == "staging: upgrade failed"


def test_scripts_that_fail_side_by_side() -> None:
    """A command that ends without an error, though scripts in it failed, is a failure, and says what each said."""
    (message,) = heard(DeployEnded("d1", "run", (DONE, BAD, replace(BAD, revision="c", effect=Effect.PARTIAL))))
    assert (message.kind, message.title) == (Kind.FAILURE, "staging: run failed at app:c")
    assert message.what.splitlines() == ["app:b: it broke", "app:c: it broke"]
    assert message.state == "app:b: effect none. app:c: effect partial."
    assert "`migrator runs show bad-b`" in message.next


def test_a_long_deploy_is_cut() -> None:
    """A deploy of a thousand revisions is a message that can be read, and a document of bounded size."""
    runs = tuple(success(key(f"r{number}")) for number in range(1000))
    (message,) = heard(DeployEnded("d1", "upgrade", runs))
    assert message.what.count("\n") == LISTED
    assert message.what.endswith("and 980 more")
    assert len(message.as_dict()["runs"]) == 100


def test_no_secret_is_in_a_message() -> None:
    """Titles, reasons and errors are masked wherever they stand in a message."""
    run = replace(BAD, title="about s3cr3t", error="with s3cr3t", reason="s3cr3t")
    error = LockHeld("s3cr3t", state="s3cr3t", hint="s3cr3t")
    ends = [DeployEnded("d1", "upgrade", (run,), each) for each in (error, None)]
    events: list[Event] = [*ends, RunSettled(run)]
    said = heard(*events, Throttled(run, "s3cr3t"), LockWaiting("app", "s3cr3t", 99.0), mask=Mask(["s3cr3t"]))
    assert len(said) == 5
    assert "s3cr3t" not in str([message.as_dict() for message in said] + [message.text() for message in said])


def test_what_a_channel_wants() -> None:
    """A channel takes the kinds and the tags that it asks for; a message without revisions has no tags."""
    revisions = [replace(each, header=replace(each.header, tags=("billing",))) for each in line("a b")]
    history = History(revisions)
    made = PlanMade(plan("upgrade", history, State(), "head"), history, state(), ("app",))
    success_, wait = heard(made, DeployEnded("d1", "upgrade", (DONE,)), LockWaiting("app", "x", 99.0))
    assert success_.tags == {"billing"}

    def wants(message: Message, **rules: Any) -> bool:
        return Channel(name="x", kind="slack", **rules).wants(message)

    everything = frozenset(Kind)
    assert wants(success_, on=everything)
    assert wants(success_, on=everything, tags=frozenset({"billing", "stock"}))
    assert not wants(success_, on=everything, tags=frozenset({"stock"}))
    assert not wants(success_, on=frozenset({Kind.FAILURE}))
    assert wants(wait, on=everything)
    assert not wants(wait, on=everything, tags=frozenset({"billing"}))


def test_the_words_of_a_template() -> None:
    """Every word that a template may use is filled in."""
    (message,) = heard(DeployBegun("d1", "upgrade", ("app",)), DeployEnded("d1", "upgrade", (DONE,)))
    template = "|".join(f"${word}" for word in WORDS)
    text = Channel(name="x", kind="slack", template=template).text(message)
    assert text.split("|") == [message.words()[word] for word in WORDS]
