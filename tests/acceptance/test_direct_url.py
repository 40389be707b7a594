"""`url` and `direct_url` are two ways to one database, which is checked before anything is changed."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from tests._servers import sql, with_database, with_user
from tests.acceptance._project import Project


def two_ways(project: Project, url: str, direct_url: str) -> None:
    """Configure one database with both addresses, and a revision."""
    project.configure(main=direct_url)
    project.toml.write_text(f'[databases.main]\nurl = "{url}"\ndirect_url = "{direct_url}"\n')
    project.collection("main", "a1") if url.startswith("mongodb") else project.table("main", "a1")


@pytest.mark.parametrize("kind", ["postgres", "mongo"])
def test_two_databases(
    project: Project, fresh_postgres: Callable[[str], str], fresh_mongo: Callable[[str], str], kind: str
) -> None:
    """Another database is refused with both names, and nothing is created in it; doctor says the same."""
    one, other = (fresh_postgres("postgres18") if kind == "postgres" else fresh_mongo("mongo") for _ in range(2))
    two_ways(project, one, other)
    result = project.run("upgrade", "--json")
    assert result.exit_code == 3, result
    error = result.error()
    assert all(url.rpartition("/")[2].partition("?")[0] in error["message"] for url in (one, other))
    assert "lead to two databases" in project.run("doctor").stdout
    assert project.states() == {"a1": "pending"}
    two_ways(project, one, one)
    project.good("upgrade")


def test_two_servers(project: Project, fresh_postgres: Callable[[str], str]) -> None:
    """A database of the same name on another server is another database."""
    one = fresh_postgres("postgres18")
    other = fresh_postgres("postgres15")
    name = other.rpartition("/")[2]
    sql(one, f"CREATE DATABASE {name}")
    try:
        two_ways(project, with_database(one, name), other)
        result = project.run("upgrade", "--json")
        assert (result.exit_code, "system identifier" in result.error()["message"]) == (3, True), result
    finally:
        sql(one, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_user_who_may_not_know(shop: Project, postgres_url: str) -> None:
    """Who may not ask for the system identifier is compared by the rest; an address out of reach is no hindrance."""
    name = f"plain_{uuid4().hex[:12]}"
    sql(
        postgres_url,
        f"CREATE ROLE {name} LOGIN PASSWORD 'x'",
        f"GRANT CREATE ON SCHEMA public TO {name}",
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
    )
    try:
        plain = with_user(postgres_url, f"{name}:x")
        two_ways(shop, plain, plain)
        shop.good("upgrade")
        two_ways(shop, "postgresql://127.0.0.1:1/nowhere", plain)
        shop.good("upgrade")
        assert "could not be compared" in shop.good("doctor").stdout
    finally:
        sql(postgres_url, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")
