"""A database of PostgreSQL, as the tests of the tracker's place and version need it."""

from pathlib import Path

import pytest

from tests._servers import sql
from tests.conformance._places import PostgresPlace

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture
def place(postgres_url: str) -> PostgresPlace:
    """Give an empty database."""
    return PostgresPlace(postgres_url)


@pytest.fixture
def old(place: PostgresPlace) -> PostgresPlace:
    """Give a database with a tracker of version 1, in which revision aa11 succeeded with fence 7."""
    text = (FIXTURES / "tracker_postgres_1.sql").read_text("utf-8")
    insert = (
        "INSERT INTO script_run_tracker (run_id, revision, kind, direction, status, effect, fence, finished_at)"
        " VALUES ('01a', 'aa11', 'revision', 'upgrade', 'success', 'full', 7, now())"
    )
    rows = ["UPDATE migrator_lock SET fence = 7", insert, "INSERT INTO script_schedule VALUES ('often', 'x', '', 'ok')"]
    sql(place.url, *[each for each in text.split(";\n") if each.strip()], *rows)
    return place
