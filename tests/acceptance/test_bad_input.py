"""Whatever is wrong is said: what happened, in what state the database is, what to type next; and nothing changed."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests._servers import sql, with_user
from tests.acceptance._cases import CASES, Case
from tests.acceptance._look import relations, runs, snapshot
from tests.acceptance._project import Project


@pytest.fixture
def started(shop: Project) -> Project:
    """Give a project with a1 applied and b2 pending."""
    shop.tables("main", "a1")
    shop.good("upgrade")
    shop.table("main", "b2", "a1")
    return shop


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))
def test_bad_input(started: Project, postgres_url: str, case: Case) -> None:
    """A wrong call ends with its code, a message, a state and a next step, also as JSON, and changes nothing."""
    case.arrange(started)
    before = (relations if case.tried else snapshot)(postgres_url)
    result = started.run(*case.args.split())
    assert result.exit_code == case.code, result
    for part in ("error: ", "state: ", "next:  ", *case.says):
        assert part in result.stderr, (part, result.stderr)
    assert result.stderr.startswith("error: "), result.stderr
    assert "Traceback" not in result.text

    again = started.run(*case.args.split(), "--json")
    error = again.error()
    assert (again.exit_code, error["exit_code"], error["type"]) == (case.code, case.code, case.kind), again
    for part in case.says:
        assert part in f"{error['message']} {error['hint']}", (part, error)
    assert error["state"], error
    assert error["hint"], error
    assert (relations if case.tried else snapshot)(postgres_url) == before


def test_a_failure_is_recorded(started: Project, postgres_url: str) -> None:
    """A failed step leaves a row that says why, how it ended on the server, and that nothing stayed."""
    started.revision("main", "b2", "a1", upgrade='await ctx.execute("SELECT pg_sleep(30)")', timeout="500ms")
    error = started.run("upgrade", "--json").error()
    assert (error["failed"]["reason"], error["failed"]["effect"], error["done"]) == ("timeout", "none", [])
    (row,) = runs(postgres_url, "revision = 'b2'")
    assert (row["status"], row["reason"], row["effect"]) == ("failed", "timeout", "none")
    asleep = "SELECT 1 FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND pid <> pg_backend_pid() AND state = 'active'"
    assert sql(postgres_url, f"{asleep} AND datname = current_database()") == []


def test_what_was_done_before_a_failure_is_told(started: Project, postgres_url: str) -> None:
    """When the second of two steps fails, the first stays and is named."""
    started.revision("main", "c3", "b2", upgrade='await ctx.execute("SELECT 1/0")')
    result = started.run("upgrade")
    assert result.exit_code == 1
    assert "Before it, 1 applied and kept (last: main:b2)" in result.stderr
    assert [run["revision"] for run in started.run("upgrade", "--json").error()["done"]] == []
    assert relations(postgres_url) == {"t_a1", "t_b2"}


def test_an_error_of_a_text_in_sql_has_its_line(started: Project) -> None:
    """An error in an SQL revision names the line of the file."""
    started.sql("main", "c3", "b2", upgrade="SELECT 1;\nSELECT\n  nothing_here;")
    assert "revisions/c3.sql:8" in started.run("upgrade").stderr


@pytest.fixture
def reader(started: Project, postgres_url: str) -> Iterator[Project]:
    """Give the project to a user who may only read."""
    name = f"reader_{uuid4().hex[:12]}"
    sql(
        postgres_url,
        f"CREATE ROLE {name} LOGIN PASSWORD 'reading'",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}",
    )
    started.configure(main=with_user(postgres_url, f"{name}:reading"))
    yield started
    sql(postgres_url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.mark.parametrize("tracker", [True, False])
def test_a_user_who_may_only_read(reader: Project, postgres_url: str, tracker: bool) -> None:
    """Such a user may ask for the status, and is refused with 5 and a way on whatever would write."""
    if not tracker:
        sql(postgres_url, "DROP TABLE script_run_tracker, script_run_lock")
    before = snapshot(postgres_url)
    assert reader.states() == {"a1": "applied" if tracker else "pending", "b2": "pending"}
    result = reader.run("upgrade")
    assert result.exit_code == 5, result
    assert "permission denied" in result.stderr
    assert "state: " in result.stderr
    assert "migrator doctor" in result.stderr
    assert reader.run("upgrade", "--json").error()["type"] == "PermissionDenied"
    assert reader.run("doctor").exit_code == 1
    assert snapshot(postgres_url) == before
