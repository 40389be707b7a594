"""`migrator stats`, over both databases."""

from tests._servers import sql
from tests.acceptance._project import Project


def test_stats(both: Project) -> None:
    """Runs of both databases are counted by how they ended, by month, by script, and failures by class of error."""
    both.tables("main", "a1", "b2")
    both.collection("events", "e1")
    both.good("upgrade")
    both.good("downgrade", "main:-1")
    both.revision("main", "c3", "b2", upgrade='await ctx.execute("SELECT 1/0")')
    both.revision("events", "e2", "e1", upgrade="await ctx.db.things.insert_many([{'_id': 1}, {'_id': 1}])")
    assert both.run("upgrade", "main:head").exit_code == 1
    assert both.run("upgrade", "events:head").exit_code == 1
    both.revision("main", "c3", "b2", verify="return False")
    assert both.run("upgrade", "main:head").exit_code == 13
    earlier = "duration_ms = 250, started_at = started_at - interval '400 days'"
    sql(both.urls["main"], f"UPDATE script_run_tracker SET {earlier} WHERE revision = 'a1'")
    found = both.good("stats", "--json").json()
    counts = {name: found["all"][name] for name in ("total", "success", "failed", "rolled_back", "running")}
    assert counts == {"total": 8, "success": 4, "failed": 3, "rolled_back": 1, "running": 0}
    assert found["failures"] == {"BulkWriteError": 1, "DivisionByZeroError": 1, "verify_failed": 1}
    assert found["scripts"]["main:a1"]["p95_ms"] == 250
    assert {key: each["total"] for key, each in found["scripts"].items()} == {
        "events:e1": 1,
        "events:e2": 1,
        "main:a1": 1,
        "main:b2": 3,
        "main:c3": 2,
    }
    assert len(found["months"]) == 2
    assert both.good("stats", "--json", "--since", "30d", "-d", "main").json()["all"]["total"] == 5
    said = both.good("stats").stdout
    for part in ("DivisionByZeroError  1", "main:a1", "250 ms", "Title of a1"):
        assert part in said, part


def test_stats_of_nothing(shop: Project) -> None:
    """Without a tracker everything is zero."""
    assert shop.good("stats", "--json").json()["all"]["total"] == 0
    assert "all" in shop.good("stats").stdout
