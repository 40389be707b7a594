"""The tracker's collections: their names, their database, and the way from version to version."""

from pathlib import Path
from typing import Any

import pytest
from bson import json_util

from migrator.adapters.mongo import _moving
from migrator.adapters.mongo._rows import COLLECTIONS, LOCK, VERSION
from migrator.core.errors import LockHeld, TrackerAmbiguous, TrackerNewer
from migrator.core.release import __version__
from tests.adapters.mongo._ground import Ground

FIRST = Path(__file__).parents[2] / "fixtures" / "tracker_mongo_1.json"


@pytest.fixture
def old(ground: Ground) -> Ground:
    """Give a database with a tracker of version 1, in which revision aa11 succeeded."""
    for name, kept in json_util.loads(FIRST.read_text("utf-8")).items():
        made = ground.db.create_collection(name, **kept["options"])
        for index in kept["indexes"]:
            options = {key: value for key, value in index.items() if key not in ("v", "key", "ns")}
            if index["name"] != "_id_":
                made.create_index(list(index["key"].items()), **options)
        if kept["rows"]:
            made.insert_many(kept["rows"])
    return ground


def shape(ground: Ground, name: str = "") -> dict[str, Any]:
    """Return the collections of a database with their options and indexes."""
    db = ground.client[name or ground.name]
    return {
        each["name"]: (each["options"], sorted(db[each["name"]].index_information()))
        for each in db.list_collections()
        if each["name"] != "migrator_lock"
    }


async def acquired(ground: Ground, **options: Any) -> int:
    """Take the lock and give it back."""
    async with ground.adapter(**options).session() as session:
        fence = await session.lock.acquire(ground.owner())
        await session.lock.release()
        return fence


async def applied(ground: Ground, revision: str = "aa11", **options: Any) -> None:
    """Record a run that succeeded."""
    from migrator.core.run import Effect, Status

    async with ground.adapter(**options).session() as session:
        run = ground.run(await session.lock.acquire(ground.owner()), revision=revision)
        await session.tracker.start(run)
        await session.tracker.finish(run.moved(Status.SUCCESS, Effect.FULL))
        await session.lock.release()


async def revisions(ground: Ground, **options: Any) -> list[str]:
    """Return what the tracker says is applied."""
    async with ground.adapter(**options).session() as session:
        return [run.revision for run in await session.tracker.runs()]


async def test_forward_from_version_1(old: Ground) -> None:
    """The first that takes the lock moves it: runs, fence, schedules and tokens stay, under one prefix."""
    before = old.db["migrator_lock"].find_one({"_id": "fence"})
    assert before is not None
    assert await acquired(old) > before["token"]
    async with old.adapter().session() as session:
        assert [run.revision for run in await session.tracker.runs()] == ["aa11"]
        assert [firing.name for firing in await session.tracker.firings()] == ["often"]
        assert [token.name for token in await session.journal.tokens()] == ["ann"]
    seal = old.db[LOCK].find_one({"_id": "tracker"}) or {}
    assert (seal["version"], seal["made_by"]) == (VERSION, __version__)
    moved = shape(old)
    assert set(moved) == set(COLLECTIONS)
    old.client.drop_database(old.name)
    await applied(old)
    assert {name: found for name, found in moved.items() if name in shape(old)} == shape(old)


async def test_reading_version_1(old: Ground) -> None:
    """What only reads works on it and leaves it as it is."""
    before = shape(old), old.db["migrator_lock"].find_one({"_id": "tracker"})
    async with old.adapter().session() as session:
        assert [run.revision for run in await session.tracker.runs()] == ["aa11"]
        assert [firing.name for firing in await session.tracker.firings()] == ["often"]
        assert await session.lock.holder() is None
        assert [token.name for token in await session.journal.tokens()] == ["ann"]
    assert (shape(old), old.db["migrator_lock"].find_one({"_id": "tracker"})) == before


async def test_an_older_release_beside_it(old: Ground) -> None:
    """It reads the newer version under the name that it knows, so that it refuses the tracker."""
    await acquired(old)
    assert (old.db["migrator_lock"].find_one({"_id": "tracker"}) or {})["version"] == VERSION


async def test_an_older_release_at_work(old: Ground) -> None:
    """Its lease is ours: nothing moves while it works."""
    old.db["migrator_lock"].update_one({"_id": "lease"}, [{"$set": {"expires": {"$add": ["$$NOW", 60_000]}}}])
    with pytest.raises(LockHeld):
        await acquired(old)
    assert (old.db["migrator_lock"].find_one({"_id": "tracker"}) or {})["version"] == 1


async def test_one_who_waited_while_it_moved(old: Ground) -> None:
    """A session that found version 1 takes the lock of the newer version afterwards."""
    async with old.adapter().session() as waiting:
        fence = await acquired(old)
        assert await waiting.lock.acquire(old.owner()) == fence + 1
        assert [run.revision for run in await waiting.tracker.runs()] == ["aa11"]
        await waiting.lock.release()


@pytest.mark.parametrize("step", ["_renamed", "make"])
async def test_broken_off_in_the_middle(old: Ground, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A move that stopped between two statements still reads as version 1, and is done again from the start."""
    real = getattr(_moving, step)
    calls = []

    async def broken(*args: Any) -> None:
        calls.append(args)
        if len(calls) == (2 if step == "_renamed" else 1):
            raise KeyboardInterrupt
        await real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(_moving, step, broken)
        with pytest.raises(KeyboardInterrupt):
            await acquired(old)
    assert await revisions(old) == ["aa11"]
    await acquired(old)
    async with old.adapter().session() as session:
        assert [firing.name for firing in await session.tracker.firings()] == ["often"]
    assert (old.db[LOCK].find_one({"_id": "tracker"}) or {})["version"] == VERSION


async def test_a_newer_version(ground: Ground) -> None:
    """It is refused, with the release that wrote it."""
    await acquired(ground)
    ground.db[LOCK].update_one({"_id": "tracker"}, {"$set": {"version": 99, "made_by": "4.5.6"}})
    with pytest.raises(TrackerNewer, match=r"version 99, written by migrator 4\.5\.6") as caught:
        await acquired(ground)
    assert "polymigrator>=4.5.6" in caught.value.hint


async def test_an_index_that_is_gone(ground: Ground) -> None:
    """The next that takes the lock makes it again."""
    await applied(ground)
    before = shape(ground)
    ground.db["script_run_tracker"].drop_index("one_pending")
    ground.db["script_run_control"].drop()
    await acquired(ground)
    assert shape(ground) == before


async def test_a_database_of_its_own(ground: Ground) -> None:
    """`tracker_database` is where a new one is made; it is found without the key afterwards."""
    ops = f"{ground.name}_ops"
    try:
        await applied(ground, tracker=ops)
        assert set(shape(ground)) == {LOCK}, "it says where the tracker is"
        assert "script_run_tracker" in shape(ground, ops)
        assert await revisions(ground) == await revisions(ground, tracker=ops) == ["aa11"]
        await applied(ground, "bb22")
        assert await revisions(ground, tracker=ops) == ["aa11", "bb22"]
    finally:
        ground.client.drop_database(ops)


async def test_a_tracker_in_another_database_than_the_key_says(ground: Ground) -> None:
    """Nothing counts as pending because of a wrong key: the tracker that is there is named."""
    await applied(ground)
    with pytest.raises(TrackerAmbiguous, match=ground.name) as caught:
        await revisions(ground, tracker=f"{ground.name}_ops")
    assert caught.value.exit_code == 3
    assert f"{ground.name}_ops" not in ground.client.list_database_names()


async def test_the_tracker_of_another_database(ground: Ground) -> None:
    """Two databases do not share one."""
    ops = f"{ground.name}_ops"
    try:
        await applied(ground, tracker=ops)
        ground.client[ops][LOCK].update_one({"_id": "tracker"}, {"$set": {"database": "shop"}})
        with pytest.raises(TrackerAmbiguous, match="shop"):
            await acquired(ground, tracker=ops)
    finally:
        ground.client.drop_database(ops)
