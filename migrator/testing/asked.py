"""What people ask of a long change, and what the tracker tells of one: by anybody, without the lock."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from migrator.core.batch import Control, Desired
from migrator.core.errors import TrackerRefused
from migrator.core.protocols import Session
from migrator.testing._place import Place

ODD_TEXT = 'it\'s "quoted" \\ ☃ $by :reason {x}\nline'


def _said(control: Control) -> Control:
    return replace(control, at="")


async def test_nobody_has_asked_anything(place: Place, session: Session) -> None:
    """Of a change that nobody began there are no checkpoints and no failures, and it may run."""
    assert await session.tracker.control("run1") == Control()
    assert (await session.tracker.checkpoints("run1"), await session.tracker.failures("run1")) == ([], [])


async def test_what_is_asked_is_kept_as_a_whole(place: Place, session: Session) -> None:
    """The newest word counts, with its reason and its settings, and another change knows nothing of it."""
    first = Control(Desired.PAUSE, ODD_TEXT, ODD_TEXT, {"target": 0.25, "max_rows": 50})
    await session.tracker.ask("run1", first)
    assert _said(await session.tracker.control("run1")) == first
    second = Control(Desired.RUN, "bob", "", {"max_rows": 70})
    await session.tracker.ask("run1", second)
    found = await session.tracker.control("run1")
    assert _said(found) == second
    assert datetime.fromisoformat(found.at).tzinfo is UTC
    assert await session.tracker.control("run2") == Control()


async def test_asking_needs_no_lock(place: Place, session: Session) -> None:
    """Anybody may ask, while somebody else holds the lock and after they were overtaken."""
    async with place.adapter().session() as other:
        await other.tracker.ask("run1", Control(Desired.CANCEL, "bob", "it hurts"))
    assert (await session.tracker.control("run1")).desired is Desired.CANCEL


async def test_without_a_tracker_there_is_nothing_to_ask(place: Place) -> None:
    """In an empty database reading finds nothing, asking is refused, and nothing is created."""
    async with place.adapter().session() as session:
        assert await session.tracker.control("run1") == Control()
        assert await session.tracker.checkpoints("run1") == []
        assert await session.tracker.failures("run1") == []
        with pytest.raises(TrackerRefused):
            await session.tracker.ask("run1", Control(Desired.PAUSE))
        assert await session.tracker.runs() == []
