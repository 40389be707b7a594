"""`/scripts/runs`: listed by pages and filters, shown in full, counted, deleted, cleaned up."""

from typing import Any, get_args

import httpx2
import pytest

from migrator.core.runs import WORDS
from migrator.dashboard.api_runs import Standing
from tests._servers import sql
from tests.acceptance._look import runs
from tests.acceptance._project import Project
from tests.dashboard._api import Api
from tests.dashboard.conftest import Served


@pytest.fixture
def past(shop: Project) -> Project:
    """Give a project with a past: a1 applied, b2 down and up again, c3 failed; a1 began in 2020."""
    shop.tables("main", "a1", "b2")
    shop.revision("main", "c3", "b2", upgrade='ctx.log.info("so far")\nraise RuntimeError("no")')
    assert shop.run("upgrade").exit_code == 1
    shop.good("downgrade", "a1")
    assert shop.run("upgrade").exit_code == 1
    sql(shop.urls["main"], "UPDATE script_run_tracker SET started_at = '2020-02-01' WHERE revision = 'a1'")
    return shop


def names(answer: dict[str, Any]) -> list[str]:
    """Return the revisions of a page."""
    return [run["revision"] for run in answer["runs"]]


def test_what_is_told(past: Project, served: Served, client: httpx2.Client) -> None:
    """Pages and filters of the list, one run in full, and statistics with the filters of the list."""
    api = Api(client, served(past))
    lists(api)
    one(api, past)
    statistics(api)


def lists(api: Api) -> None:
    """Check that pages follow one another, every filter narrows, and no run in a list has its text or its lines."""
    whole = api.get("/scripts/runs")
    assert names(whole) == ["c3", "b2", "b2", "c3", "b2", "a1"]
    assert whole["after"] == ""
    assert all("source" not in run and "log" not in (run["result"] or {}) for run in whole["runs"])
    first = api.get("/scripts/runs", limit=4)
    assert names(first) + names(api.get("/scripts/runs", limit=4, after=first["after"])) == names(whole)
    for asked, found in (
        ({"scriptId": "c"}, ["c3", "c3"]),
        ({"status": "failed"}, ["c3", "c3"]),
        ({"status": ["rolled_back", "interrupted"]}, ["b2"]),
        ({"direction": "downgrade"}, ["b2"]),
        ({"endDate": "2020-03-01"}, ["a1"]),
        ({"startDate": "1d", "scriptId": "a1"}, []),
        ({"startDate": "2020-02-01T00:00:00Z", "endDate": "2020-02-01T00:00:01+00:00"}, ["a1"]),
        ({"user": "nobody"}, []),
        ({"host": "nowhere"}, []),
        ({"database": "main", "scriptId": "a1"}, ["a1"]),
    ):
        assert names(api.get("/scripts/runs", **asked)) == found, asked
    assert get_args(Standing) == WORDS


def one(api: Api, past: Project) -> None:
    """Check a run in full, with its text and its log's size; the beginning of an id is no id."""
    (run,) = api.get("/scripts/runs", scriptId="a1")["runs"]
    shown = api.get(f"/scripts/runs/{run['run_id']}")
    assert shown["source"] == (past.folder / "revisions" / "a1.py").read_text()
    assert shown["standing"] == "success"
    assert shown["log"]["size"] == (past.folder / "logs" / run["log_file"]).stat().st_size
    assert (shown["log"]["older"], shown["change"], shown["failures"]) == (0, None, [])
    api.get("/scripts/runs/0000000000000", 404)
    api.get(f"/scripts/runs/{run['run_id'][:12]}", 404)


def statistics(api: Api) -> None:
    """Check that it is what `migrator stats` counts."""
    all_of = api.get("/scripts/runs/statistics")
    assert all_of["all"]["total"] == 6
    assert all_of["scripts"]["main:c3"]["failed"] == 2
    assert all_of["failures"] == {"RuntimeError": 2}
    assert min(all_of["months"]) == "2020-02"
    assert api.get("/scripts/runs/statistics", status=["failed"])["all"]["total"] == 2
    assert api.get("/scripts/runs/statistics", status="running")["all"]["total"] == 0
    assert list(api.get("/scripts/runs/statistics", endDate="2020-03-01")["scripts"]) == ["main:a1"]


def test_delete(past: Project, served: Served, client: httpx2.Client) -> None:
    """A run that something came after goes with its log; what the tracker knows now stays."""
    api = Api(client, served(past))
    first, last = api.get("/scripts/runs", scriptId="c3")["runs"][::-1]
    refused = api.delete(f"/scripts/runs/{last['run_id']}", status=409)
    assert refused["error"] == "PlanRefused"
    assert refused["state"] == "Nothing was changed."
    entry = api.delete(f"/scripts/runs/{first['run_id']}")
    assert (entry["action"], entry["word"], entry["result"]) == ("delete", "ok", {"deleted": 1})
    api.get(f"/scripts/runs/{first['run_id']}", 404)
    assert not (past.folder / "logs" / first["log_file"]).exists()
    assert len(runs(past.urls["main"])) == 5


def test_cleanup(past: Project, served: Served, client: httpx2.Client) -> None:
    """What would go is told and stays; then it goes, in the background, and the status tells of it."""
    toml = "[retention]\nkeep_last = 0\nfailed_days = 0\n[schedule.nightly]\ntask = 'cleanup'\ncron = '0 3 * * *'\n"
    api = Api(client, served(past, toml))
    before = api.get("/scripts/runs/cleanup/status")
    assert (before["running"], before["last"]) == ({}, None)
    assert before["next"].endswith("T03:00:00.000Z")
    told = api.post("/scripts/runs/cleanup", {"days": 0, "dryRun": True})
    assert (told["runs"], told["dry_run"]) == ({"main": 3}, True)
    assert len(runs(past.urls["main"])) == 6
    ended = api.ended(api.post("/scripts/runs/cleanup", {"days": 0}, 202))
    assert ended["result"]["runs"] == {"main": 3}
    assert ended["asked"] == {"days": 0}
    assert len(runs(past.urls["main"])) == 3
    assert api.get("/scripts/runs/cleanup/status")["last"] == ended


def test_a_database_without_a_past(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Where nothing ever ran, everything is empty and nothing is created."""
    api = Api(client, served(shop))
    assert api.get("/scripts/runs") == {"runs": [], "after": ""}
    assert api.get("/scripts/runs/statistics")["all"]["total"] == 0
    assert api.get("/scripts/runs/cleanup/status") == {"running": {}, "last": None, "next": ""}
    assert api.get("/api/audit") == {"entries": [], "after": ""}
    assert api.get("/api/changes") == {"changes": []}
    assert api.get("/api/databases/main/lock") == {"database": "main", "holder": None}
    assert sql(shop.urls["main"], "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")[0][0] == 0
