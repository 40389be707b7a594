"""Events to those who hear them: in order, in threads of their own, and with an end."""

import asyncio
import logging
import threading

import pytest

from migrator.core.events import DeployBegun, DeployEnded, Event
from migrator.core.secrets import Mask
from migrator.runtime.notify import Notifiers

EVENTS = [DeployEnded(f"d{number}", "upgrade") for number in range(5)]


class Slow:
    """Hears nothing to the end before it is told to go on, or whoever closes has waited for it too long."""

    name = "the slow one"
    patience = 0.05

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.go_on.wait(5)
        self.heard.append(event)


class Good:
    """Hears everything at once."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.heard.append(event)


class Picky(Good):
    """Wants to hear of beginnings only."""

    hears = frozenset({DeployBegun})


class Broken:
    """Fails at every event."""

    name = "the broken one"

    def __call__(self, event: Event) -> None:
        raise RuntimeError("no\nway, s3cr3t")


def publish(*notifiers: Notifiers) -> None:
    """Publish all events."""
    for each in notifiers:
        for event in EVENTS:
            each.publish(event)


async def test_one_that_is_slow_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The others hear everything while one is busy; the end waits for it no longer than its patience, and says so."""
    slow, good = Slow(), Good()
    notifiers = Notifiers([slow, good])
    publish(notifiers)
    await notifiers.close()
    assert good.heard == EVENTS
    assert slow.heard == []
    assert "the slow one had not finished after 0.05 s" in caplog.text
    slow.go_on.set()


async def test_patience_is_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    """Two that are slow are waited for together, not one after the other, and the loop goes on meanwhile."""
    slow = [Slow(), Slow()]
    notifiers = Notifiers(slow)
    publish(notifiers)
    closing = asyncio.create_task(notifiers.close())
    turns = 0
    while not closing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 1
    assert caplog.text.count("had not finished") == 2
    for each in slow:
        each.go_on.set()


async def test_one_that_is_broken_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One that fails is one line of warning without secrets, however often it fails; it goes on being called."""
    good = Good()
    notifiers = Notifiers([Broken(), good], Mask(["s3cr3t"]))
    publish(notifiers)
    await notifiers.close()
    assert good.heard == EVENTS
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage() == "the notifier the broken one failed: RuntimeError: no way, ***; the run goes on"


async def test_a_companion_is_in_the_same_task() -> None:
    """A companion hears each event before `publish` returns; one that fails is left out from then on."""
    seen: list[tuple[Event, threading.Thread]] = []
    notifiers = Notifiers()
    notifiers.accompany(Broken())
    notifiers.accompany(lambda event: seen.append((event, threading.current_thread())))
    for number, event in enumerate(EVENTS, 1):
        notifiers.publish(event)
        assert len(seen) == number
    assert {thread for _, thread in seen} == {threading.current_thread()}


async def test_nobody_is_started_in_vain() -> None:
    """Without an event there is no thread, and nothing to wait for."""
    before = threading.active_count()
    notifiers = Notifiers([Slow()])
    await notifiers.close()
    assert threading.active_count() == before


async def test_what_is_not_wanted_wakes_nobody() -> None:
    """One that wants some events only has no thread until the first of them, and hears no other."""
    picky, before = Picky(), threading.active_count()
    notifiers = Notifiers([picky])
    publish(notifiers)
    assert threading.active_count() == before
    begun = DeployBegun("d", "upgrade", ())
    notifiers.publish(begun)
    await notifiers.close()
    assert picky.heard == [begun]
