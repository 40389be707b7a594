"""What nobody should send: every call of it is answered with a problem that says why, and nothing is changed."""

import json
from typing import Any

import httpx2
import pytest

from tests.acceptance._look import snapshot
from tests.acceptance._project import Project
from tests.dashboard._api import PROBLEM
from tests.dashboard.conftest import Served

ID = "01k9xxyyzz0a1"
QUERIES = (
    ("/scripts/runs?limit=0", "limit"),
    ("/scripts/runs?limit=501", "limit"),
    ("/scripts/runs?limit=99999999999999999999999", "limit"),
    ("/scripts/runs?limit=ten", "limit"),
    ("/scripts/runs?limit=1&limit=2", "twice"),
    ("/scripts/runs?startdate=2026-01-01", "Did you mean startDate?"),
    ("/scripts/runs?startDate=yesterday", "is no time; write a date"),
    ("/scripts/runs?startDate=2026-13-01", "is no time"),
    ("/scripts/runs?startDate=0001-01-01T00:00%2B14:00", "beyond what a calendar can tell"),
    ("/scripts/runs?endDate=9999-12-31T23:59-12:00", "beyond what a calendar can tell"),
    ("/scripts/runs?status=done", "status"),
    ("/scripts/runs?scriptId=a'%20OR%201=1", "scriptId"),
    ("/scripts/runs?after=%00", "after"),
    ("/scripts/runs?user=a%00b", "user"),
    ("/scripts/runs?direction=sideways", "direction"),
    ("/scripts/runs/statistics?limit=3", "there is no query parameter 'limit' here"),
    ("/scripts/runs/{run}?full=1", "Known: none"),
    (f"/scripts/runs/{ID}%00", "Not Found"),
    ("/scripts/runs/..%2f..%2fetc%2fpasswd", "Not Found"),
    ("/scripts/runs/%2e%2e/%2e%2e/etc/passwd", "Not Found"),
    ("/scripts/runs/{run}/log?offset=-1", "offset"),
    ("/scripts/runs/{run}/log?limit=1000000", "limit"),
    ("/scripts/runs/{run}/log?level=LOUD", "level"),
    ("/scripts/runs/{run}/log?mark=../x", "mark"),
    ("/scripts/runs/{run}/events?after=x", "after"),
    ("/api/databases/..%2f..%2fmigrator.toml", "Not Found"),
    ("/api/databases/%00", "database"),
    ("/api/revisions/main/..%2fa1", "Not Found"),
    ("/api/revisions/main/a1/source?at=elsewhere", "at"),
    ("/api/revisions/main/head", "names no revision"),
    ("/api/audit/%F0%9F%92%A5", "entry_id"),
    ("/api/audit?action=%00", "action"),
)
BODIES: tuple[tuple[str, str, Any, str], ...] = (
    ("POST", "/api/upgrade", {"target": ["a1"]}, "did you mean targets?"),
    ("POST", "/api/upgrade", {"targets": "a1"}, "body.targets"),
    ("POST", "/api/upgrade", {"targets": ["a1; DROP TABLE x"]}, "body.targets.0"),
    ("POST", "/api/upgrade", {"targets": ["a1\0"]}, "body.targets.0"),
    ("POST", "/api/upgrade", {"targets": ["a1"] * 101}, "at most 100"),
    ("POST", "/api/upgrade", {"databases": ["ma\0in"]}, "body.databases.0"),
    ("POST", "/api/upgrade", {"\ud800": 1}, "there is no '\\ud800' here"),
    ("POST", "/api/upgrade", [], "body"),
    ("POST", "/api/upgrade", None, "body"),
    ("POST", "/api/downgrade", {"targets": []}, "at least 1"),
    ("POST", "/api/downgrade", {"targets": ["a1"], "confirm": "\ud800"}, "body.confirm"),
    ("POST", "/api/plan", {"direction": "sideways"}, "body.direction"),
    ("POST", "/api/run", {}, "which script?"),
    ("POST", "/api/run", {"names": ["x"], "params": {"a": "\0"}}, "a NUL"),
    ("POST", "/api/run", {"names": ["x"], "params": {"a": [{"b": "\udfff"}]}}, "half a character"),
    ("POST", "/api/run", {"names": ["x"], "params": {"a": json.loads("[" * 50 + "]" * 50)}}, "more than 20 deep"),
    ("POST", "/api/run", {"names": ["x"], "force": "yes"}, "body.force"),
    ("POST", "/scripts/runs/cleanup", {"days": -1}, "body.days"),
    ("POST", "/scripts/runs/cleanup", {"days": 1e400}, "body"),
    ("POST", "/scripts/runs/cleanup", {"days": 36501}, "body.days"),
    ("POST", "/scripts/runs/cleanup", {"dry_run": True}, "did you mean dryRun?"),
    ("POST", "/scripts/runs/{run}/tune", {"settings": {"target": 0}}, "body.settings.target"),
    ("POST", "/scripts/runs/{run}/tune", {"settings": {}}, "which setting?"),
    ("POST", "/scripts/runs/{run}/tune", {"settings": {"max_row": 5}}, "did you mean max_rows?"),
    ("POST", "/scripts/runs/{run}/cancel", {}, "body.reason"),
    ("POST", "/scripts/runs/{run}/cancel", {"reason": " \n"}, "body.reason"),
    ("POST", "/scripts/runs/{run}/resolve", {"decision": "forget", "reason": "x"}, "body.decision"),
    ("POST", f"/scripts/runs/{ID}/pause", {}, f"there is no run '{ID}'"),
    ("DELETE", f"/scripts/runs/{ID}", {}, f"there is no run '{ID}'"),
    ("DELETE", "/api/databases/main/lock", {}, "body.reason"),
    ("POST", "/api/tokens", {"name": "x", "role": "king"}, "body.role"),
    ("POST", "/api/tokens", {"name": "x\0", "role": "admin"}, "body.name"),
    ("POST", "/api/tokens", {"name": "x", "role": "admin", "days": -1}, "body.days"),
    ("DELETE", "/api/tokens/..%2fx", {}, "Not Found"),
    ("PUT", "/api/upgrade", {}, "Method Not Allowed"),
    ("PATCH", "/scripts/runs", {}, "Method Not Allowed"),
    ("POST", "/api/nothing", {}, "Not Found"),
)


@pytest.fixture
def api(shop: Project, served: Served) -> str:
    """Give the address of a server of a database in which something ran."""
    shop.tables("main", "a1")
    shop.good("upgrade")
    return served(shop)


def test_nothing_is_changed(shop: Project, api: str, client: httpx2.Client) -> None:
    """Whatever is wrong with a path, a query, a body, its type or its size."""
    before = snapshot(shop.urls["main"])
    run = client.get(f"{api}/scripts/runs").json()["runs"][0]["run_id"]
    for path, said in QUERIES:
        refused(client.get(api + path.replace("{run}", run)), said)
    for method, path, body, said in BODIES:
        refused(client.request(method, api + path.replace("{run}", run), content=json.dumps(body), headers=JSON), said)
    post = f"{api}/api/upgrade"
    refused(client.post(post, content=b"{}", headers={"content-type": "text/plain"}), "body")
    refused(client.post(post, data={"targets": "head"}), "body")
    refused(client.post(post, content=b"{}"), "body")
    refused(client.post(post, content=b"{", headers=JSON), "JSON")
    refused(client.post(post, content=b"\xff\xfe", headers=JSON), "body")
    refused(client.post(post, content=b"[" * 100_000, headers=JSON), "body")
    refused(client.post(post, content=b'{"targets": ["' + b"a" * 10_000_000 + b'"]}', headers=JSON), "MiB")
    refused(client.post(post, json={}, headers={"Idempotency-Key": "k" * 201}), "idempotency-key")
    refused(client.post(post, json={}, headers={"sec-fetch-site": "cross-site"}), "another site")
    assert snapshot(shop.urls["main"]) == before


JSON = {"content-type": "application/json"}


def refused(answer: httpx2.Response, said: str) -> None:
    """Check that an answer is a problem that says this."""
    assert 400 <= answer.status_code < 500, (answer.status_code, str(answer.url), answer.text)
    assert answer.headers["content-type"] == PROBLEM
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert said in f"{problem['detail']} {problem['hint']}", (str(answer.url), problem)
