"""Replication that copies the tracker is noticed: a copy does not say what is applied where it is."""

from typing import Any

import pytest

from migrator.core.errors import TrackerDamaged
from tests._servers import sql
from tests.conformance._places import PostgresPlace

PUBLISHED = ("FOR ALL TABLES", "FOR TABLES IN SCHEMA public", "FOR TABLE script_run_tracker")


async def applied(place: PostgresPlace) -> None:
    """Record a run that succeeded."""
    async with place.adapter().session() as session:
        await place.applied(session, place.run(await session.lock.acquire(place.owner())))


async def told(place: PostgresPlace) -> tuple[str, list[Any]]:
    """Return what status says of the tracker's place, and what doctor says of replication."""
    adapter = place.adapter()
    async with adapter.session() as session:
        assert len(await session.tracker.runs()) == 1
        where = str(session.tracker.place)
    return where, [each for each in await adapter.examine() if each.subject == "replication"]


@pytest.mark.filterwarnings("ignore:wal_level")
@pytest.mark.parametrize("what", PUBLISHED)
async def test_a_publication(place: PostgresPlace, what: str) -> None:
    """Every way to publish the tracker is named by status and doctor; the publisher itself works on."""
    await applied(place)
    sql(place.url, "CREATE TABLE other (id int PRIMARY KEY)", "CREATE PUBLICATION others FOR TABLE other")
    assert await told(place) == ("schema public, version 2", [])
    sql(place.url, f"CREATE PUBLICATION everything {what}")
    where, found = await told(place)
    assert "copied by publication everything" in where
    assert [(each.level, "everything" in each.text, "others" in each.text) for each in found] == [("warn", True, False)]
    async with place.adapter().session() as session:
        assert await session.lock.acquire(place.owner()) > 1


async def test_a_subscription(place: PostgresPlace) -> None:
    """Where a subscription writes the tracker, status and doctor name it, and commands that change something fail."""
    await applied(place)
    sql(
        place.url,
        "CREATE SUBSCRIPTION copy CONNECTION 'dbname=nowhere' PUBLICATION everything WITH (connect = false)",
        "INSERT INTO pg_subscription_rel SELECT oid, 'script_run_tracker'::regclass, 'r', NULL FROM pg_subscription"
        " WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    try:
        where, found = await told(place)
        assert "written by subscription copy" in where
        assert [each.level for each in found] == ["warn"]
        async with place.adapter().session() as session:
            with pytest.raises(TrackerDamaged, match="subscription copy") as caught:
                await session.lock.acquire(place.owner())
        assert "stamp" in caught.value.hint
    finally:
        sql(place.url, "ALTER SUBSCRIPTION copy SET (slot_name = NONE)", "DROP SUBSCRIPTION copy")
