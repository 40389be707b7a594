"""The tracker is found in the catalog, whatever the search path."""

import pytest

from migrator.adapters.postgres._queries import TABLES
from migrator.core.errors import MigratorError, TrackerAmbiguous
from tests._servers import sql
from tests.conformance._places import PostgresPlace

TABLES_OF = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)' ORDER BY 1, 2"


async def applied(place: PostgresPlace, revision: str = "aa11", **options: str) -> None:
    """Record a run that succeeded."""
    adapter = place.adapter(**options)
    async with adapter.session() as session:
        fence = await session.lock.acquire(place.owner())
        await place.applied(session, place.run(fence, revision=revision))


async def revisions(place: PostgresPlace, url: str = "", **options: str) -> list[str]:
    """Return what the tracker says is applied."""
    async with place.adapter(url, **options).session() as session:
        return [run.revision for run in await session.tracker.runs()]


async def test_all_tables_have_one_prefix(place: PostgresPlace) -> None:
    """Everything that is created begins with script_run_, and is in the list of tables."""
    await applied(place)
    assert sql(place.url, TABLES_OF) == [("public", name) for name in sorted(TABLES.values())]
    assert all(name.startswith("script_run_") for name in TABLES.values())


@pytest.mark.parametrize(
    "change",
    [
        "ALTER DATABASE {name} SET search_path = shop, public",
        "ALTER DATABASE {name} SET search_path = nowhere",
        "ALTER ROLE CURRENT_USER IN DATABASE {name} SET search_path = shop",
        'CREATE SCHEMA AUTHORIZATION CURRENT_USER; ALTER DATABASE {name} SET search_path = "$user", public',
    ],
)
async def test_another_search_path(place: PostgresPlace, change: str) -> None:
    """A tracker that is there is used, and none is made elsewhere."""
    await applied(place)
    name = place.url.rpartition("/")[2]
    sql(place.url, "CREATE SCHEMA shop", *change.format(name=name).split("; "))
    assert await revisions(place) == ["aa11"]
    await applied(place, "bb22")
    assert await revisions(place) == ["aa11", "bb22"]
    assert {row[0] for row in sql(place.url, TABLES_OF)} == {"public"}


async def test_a_search_path_in_the_address(place: PostgresPlace) -> None:
    """Options of the address change nothing either."""
    await applied(place)
    sql(place.url, "CREATE SCHEMA shop")
    assert await revisions(place, f"{place.url}?options=-csearch_path%3Dshop") == ["aa11"]


async def test_a_schema_for_a_new_tracker(place: PostgresPlace) -> None:
    """`tracker_schema` is where a new one is made, with the schema; it is found without the key afterwards."""
    await applied(place, tracker="ops {tracker}")
    assert {row[0] for row in sql(place.url, TABLES_OF)} == {"ops {tracker}"}
    assert await revisions(place) == ["aa11"]


async def test_two_trackers(place: PostgresPlace) -> None:
    """Two are refused by name until the key says which one is meant."""
    await applied(place, tracker="one")
    sql(place.url, "ALTER SCHEMA one RENAME TO two")
    sql(place.url, "CREATE SCHEMA one", *(f"CREATE TABLE one.{each} (LIKE two.{each})" for each in TABLES.values()))
    with pytest.raises(TrackerAmbiguous, match="one, two") as caught:
        await revisions(place)
    assert (caught.value.exit_code, "tracker_schema" in caught.value.hint) == (3, True)
    assert await revisions(place, tracker="two") == ["aa11"]
    with pytest.raises(TrackerAmbiguous, match="one, two"):
        await revisions(place, tracker="three")


async def test_a_tracker_in_another_schema_than_the_key_says(place: PostgresPlace) -> None:
    """Nothing counts as pending because of a wrong key: the tracker that is there is named."""
    await applied(place)
    with pytest.raises(TrackerAmbiguous, match="public"):
        await revisions(place, tracker="ops")
    with pytest.raises(TrackerAmbiguous, match="public"):
        await applied(place, tracker="ops")
    assert {row[0] for row in sql(place.url, TABLES_OF)} == {"public"}


async def test_a_second_history(place: PostgresPlace) -> None:
    """A schema that is reserved for one gets a tracker of its own, and each key finds its own from then on."""
    await applied(place)
    with pytest.raises(TrackerAmbiguous) as caught:
        await applied(place, "bb22", tracker="a'b")
    sql(place.url, *caught.value.hint[caught.value.hint.index("CREATE SCHEMA") :].rstrip(".").split("; "))
    assert await revisions(place, tracker="a'b") == []
    await applied(place, "bb22", tracker="a'b")
    assert await revisions(place, tracker="a'b") == ["bb22"]
    assert await revisions(place, tracker="public") == ["aa11"]
    with pytest.raises(TrackerAmbiguous, match="a'b, public"):
        await revisions(place)


async def test_tables_of_others_with_our_names(place: PostgresPlace) -> None:
    """A name alone, a copy of the runs, and a temporary table are no tracker."""
    sql(place.url, "CREATE SCHEMA shop", "CREATE TABLE shop.script_run_tracker (id int)")
    assert await revisions(place) == []
    await applied(place)
    sql(place.url, "CREATE SCHEMA copy", "CREATE TABLE copy.script_run_tracker AS TABLE script_run_tracker")
    assert await revisions(place) == ["aa11"]


async def test_no_schema_for_a_new_tracker(place: PostgresPlace) -> None:
    """Without a schema in the search path reading says that nothing is there, and writing what to set."""
    sql(place.url, f"ALTER DATABASE {place.url.rpartition('/')[2]} SET search_path = nowhere")
    assert await revisions(place) == []
    with pytest.raises(MigratorError) as caught:
        await applied(place)
    assert "tracker_schema" in caught.value.hint
    await applied(place, tracker="ops")
    assert await revisions(place) == ["aa11"]


async def test_two_at_once_make_one(place: PostgresPlace) -> None:
    """Whoever comes second with another search path finds what the first has just made."""
    sql(place.url, "CREATE SCHEMA shop")
    async with (
        place.adapter().session() as one,
        place.adapter(f"{place.url}?options=-csearch_path%3Dshop").session() as two,
    ):
        await one.tracker.ensure()
        await two.tracker.ensure()
    assert {row[0] for row in sql(place.url, TABLES_OF)} == {"public"}
