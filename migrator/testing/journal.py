"""The audit of the HTTP API and its tokens: kept beside the tracker, and independent of it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from migrator.core.errors import TrackerNewer
from migrator.core.journal import FAILED, OK, RUNNING, Entry, Role, Token
from migrator.core.protocols import Adapter, Session
from migrator.testing._place import Place

AWKWARD: dict[str, Any] = {"$set": {"a.b": None}, "nul": "\0", "half": "\ud800", "big": 10**30, "": [1.5, "'\\", True]}
"""What a caller may send, and no database takes as it is."""


def entry(entry_id: str, **changes: Any) -> Entry:
    """Return an entry of ann's, who upgrades."""
    whole = Entry(
        entry_id=entry_id,
        who="ann",
        role="operator",
        via="token",
        action="upgrade",
        address="127.0.0.1",
        databases=("main", "other"),
        subject="aa11",
        asked={"target": "head"},
        instance="pod-1 pid 7",
    )
    return replace(whole, **changes)


TOKEN = Token(
    "01t", "ci", "aa" * 32, Role.OPERATOR, ("main",), "2026-01-01T00:00:00.000Z", "ann", "2027-01-01T00:00:00.000Z"
)


async def test_before_the_first_write_there_is_nothing(adapter_factory: Callable[..., Adapter], place: Place) -> None:
    """Asking gives nothing and makes no tracker; the first write makes its own place and no tracker either."""
    async with adapter_factory().session() as session:
        assert await session.journal.entries() == []
        assert await session.journal.entries(entry_id="01a") == []
        assert await session.journal.tokens() == []
        await session.journal.end("01a", OK, "", None)
        assert await session.journal.begin(entry("01a")) is None
        assert [each.entry_id for each in await session.journal.entries()] == ["01a"]
        assert await session.tracker.runs() == []
        assert place.rows() == []


async def test_a_token_is_the_first_write(adapter_factory: Callable[..., Adapter]) -> None:
    """A token can be made in a database in which nothing of ours is."""
    async with adapter_factory().session() as session:
        await session.journal.keep_token(TOKEN)
        assert await session.journal.tokens() == [TOKEN]
        assert await session.journal.entries() == []


async def test_an_entry_comes_back_whole(session: Session) -> None:
    """All of its fields are kept; the server's clock says when it began and ended."""
    before = datetime.now(UTC) - timedelta(seconds=5)
    begun = entry("01a", key="k1")
    assert await session.journal.begin(begun) is None
    (found,) = await session.journal.entries()
    assert before < datetime.fromisoformat(found.begun_at) < datetime.now(UTC) + timedelta(seconds=5)
    assert replace(found, begun_at="") == begun
    assert (found.word, found.result, found.ended_at) == (RUNNING, None, "")
    await session.journal.end("01a", OK, "well", {"runs": [1, {"b": "c"}]})
    (ended,) = await session.journal.entries(entry_id="01a")
    assert ended == replace(found, word=OK, message="well", result={"runs": [1, {"b": "c"}]}, ended_at=ended.ended_at)
    assert datetime.fromisoformat(ended.ended_at) >= datetime.fromisoformat(found.begun_at)
    assert ended.ended_at.endswith("Z")
    assert len(ended.ended_at) == len("2026-01-01T00:00:00.000Z")


async def test_the_first_end_counts(session: Session) -> None:
    """Whoever comes later, such as an instance that was thought dead, changes nothing; an unknown id neither."""
    await session.journal.begin(entry("01a"))
    await session.journal.end("01a", FAILED, "it broke", None)
    await session.journal.end("01a", OK, "", {"late": True})
    await session.journal.end("01z", OK, "", None)
    (found,) = await session.journal.entries()
    assert (found.word, found.message, found.result) == (FAILED, "it broke", None)


async def test_whatever_was_sent_is_kept(session: Session) -> None:
    """What came with a call is kept as it came, with numbers, names and signs that no column takes."""
    await session.journal.begin(entry("01a", asked=AWKWARD, subject="it's \\ a $subject"))
    await session.journal.end("01a", FAILED, "$NOW 'quoted' \\", AWKWARD)
    (found,) = await session.journal.entries()
    assert (found.asked, found.result) == (AWKWARD, AWKWARD)
    assert (found.subject, found.message) == ("it's \\ a $subject", "$NOW 'quoted' \\")


async def test_a_key_is_used_once_by_its_caller(session: Session) -> None:
    """The second call gets the first one's entry; another caller may use the same key, and none is never used up."""
    assert await session.journal.begin(entry("01a", key="k1")) is None
    await session.journal.end("01a", OK, "", {"n": 1})
    again = await session.journal.begin(entry("01b", key="k1", action="downgrade"))
    assert again is not None
    assert (again.entry_id, again.action, again.word, again.result) == ("01a", "upgrade", OK, {"n": 1})
    assert await session.journal.begin(entry("01c", key="k1", who="bob")) is None
    assert await session.journal.begin(entry("01d")) is None
    assert await session.journal.begin(entry("01e")) is None
    assert [each.entry_id for each in await session.journal.entries()] == ["01e", "01d", "01c", "01a"]


async def test_a_key_that_many_use_at_once(adapter_factory: Callable[..., Adapter]) -> None:
    """Of eight callers on an empty database one is let through, and the others are told of it."""
    adapter = adapter_factory(pool=4)

    async def ask(number: int) -> Entry | None:
        async with adapter.session() as session:
            return await session.journal.begin(entry(f"01{number}", key="k1"))

    async with adapter.session() as session:
        answers = await asyncio.gather(*(ask(number) for number in range(8)))
        (written,) = await session.journal.entries()
    assert answers.count(None) == 1
    assert answers.index(None) == int(written.entry_id[2:])
    assert {each.entry_id for each in answers if each} == {written.entry_id}


async def test_entries_come_newest_first_page_by_page(session: Session) -> None:
    """An action and the last id of a page narrow them; ids sort as text."""
    for number, action in enumerate(("upgrade", "pause", "upgrade", "pause", "upgrade")):
        await session.journal.begin(entry(f"0{number}", action=action))

    async def ids(**asked: Any) -> list[str]:
        return [each.entry_id for each in await session.journal.entries(**asked)]

    assert await ids() == ["04", "03", "02", "01", "00"]
    assert await ids(limit=2) == ["04", "03"]
    assert await ids(limit=2, after="03") == ["02", "01"]
    assert await ids(action="pause") == ["03", "01"]
    assert await ids(action="pause", after="03") == ["01"]
    assert await ids(entry_id="02") == ["02"]
    assert await ids(entry_id="02", action="pause") == []
    assert await ids(after="00") == []
    assert await ids(action="' OR true --") == []


async def test_tokens_are_listed_by_name(session: Session) -> None:
    """Writing one again replaces it; revoked ones stay in the list."""
    other = replace(TOKEN, token_id="02t", name="ann's \\ laptop", role=Role.ADMIN, databases=(), expires_at="")
    await session.journal.keep_token(TOKEN)
    await session.journal.keep_token(other)
    assert await session.journal.tokens() == [other, TOKEN]
    revoked = replace(TOKEN, revoked_at="2026-02-01T00:00:00.000Z")
    await session.journal.keep_token(revoked)
    assert await session.journal.tokens() == [other, revoked]


async def test_an_entry_ends_in_a_newer_tracker(place: Place, session: Session) -> None:
    """A newer release refuses whoever comes later; what was begun before is still written to its end."""
    await session.journal.begin(entry("01a"))
    place.set_version(99)
    async with place.adapter().session() as later:
        with pytest.raises(TrackerNewer, match="99"):
            await later.tracker.runs()
    await session.journal.end("01a", OK, "", None)
    assert [each.word for each in await session.journal.entries()] == [OK]
