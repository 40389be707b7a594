"""What those may do who are let in: by their role, at their databases, in another application, on a server that only
shows.
"""

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from migrator.config import load
from migrator.core.journal import Role
from migrator.core.passwords import hashed
from migrator.dashboard import _identities, security
from migrator.dashboard._identities import Passwords
from tests._servers import sql
from tests.acceptance._project import Project
from tests.dashboard._server import bearer, listening, make_token
from tests.dashboard.conftest import Served
from tests.dashboard.test_refused import raw
from tests.dashboard.test_security import ANN

DOC = Path(__file__).parents[2] / "docs" / "operate.md"


def test_roles_and_databases(both: Project, served: Served, client: httpx2.Client) -> None:
    """Nobody does more than their role says, nor anything at other databases; nothing is written of what is refused."""
    both.tables("main", "aa11")
    both.collection("events", "ee11")
    tokens = {
        "viewer": make_token(both, "viewer", Role.VIEWER),
        "operator": make_token(both, "operator", Role.OPERATOR, "main"),
        "admin": make_token(both, "admin", Role.ADMIN, "main"),
    }
    url = served(both)

    def post(who: str, path: str, **body: Any) -> int:
        answer = client.post(f"{url}{path}", json=body, headers=bearer(tokens[who]))
        return answer.status_code

    assert post("viewer", "/api/upgrade") == 403
    assert post("viewer", "/api/tokens", name="x", role="viewer") == 403
    assert post("operator", "/api/upgrade", databases=["events"]) == 404
    assert post("operator", "/api/tokens", name="x", role="viewer") == 403
    assert post("admin", "/api/tokens", name="x", role="admin") == 403, "it would be an admin of all databases"
    assert post("admin", "/api/tokens", name="x", role="admin", databases=["main", "events"]) == 403
    for path in ("/api/tokens", "/api/tokens/viewer"):
        method = "GET" if path == "/api/tokens" else "DELETE"
        answer = client.request(method, f"{url}{path}", headers=bearer(tokens["admin"]))
        assert answer.status_code == 403
    for name, number in (("viewer", 2), ("operator", 1), ("admin", 1)):
        shown = client.get(f"{url}/api/databases", headers=bearer(tokens[name])).text
        assert ("events" in shown) is (number == 2), name
        metrics = client.get(f"{url}/metrics", headers=bearer(tokens[name])).text
        assert 'database="main"' in metrics
        assert ('database="events"' in metrics) is (number == 2), name
    assert sql(both.urls["main"], "SELECT to_regclass('script_run_audit')")[0][0] is not None
    assert sql(both.urls["main"], "SELECT action FROM script_run_audit") == []
    assert sql(both.urls["main"], "SELECT to_regclass('t_aa11')")[0][0] is None


def test_a_server_that_only_shows(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Nobody changes anything, whatever their role; everybody may look and log in."""
    shop.tables("main", "aa11")
    token = make_token(shop, "ann")
    url = served(shop, "[web]\nread_only = true")
    for path, body in (("upgrade", {}), ("tokens", {"name": "x", "role": "viewer"})):
        answer = client.post(f"{url}/api/{path}", json=body, headers=bearer(token))
        assert (answer.status_code, answer.json()["detail"]) == (403, "this server is read-only")
    assert client.post(f"{url}/api/plan", json={"direction": "upgrade"}, headers=bearer(token)).status_code == 200
    assert sql(shop.urls["main"], "SELECT entry_id FROM script_run_audit") == []
    assert [row["name"] for row in sql(shop.urls["main"], "SELECT name FROM script_run_token")] == ["ann"]


def test_in_another_application(shop: Project, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the manual runs: mounted, with its own users, under its own path."""
    text = DOC.read_text("utf-8").partition("## The dashboard and the HTTP API")[2]
    (example,) = re.findall(r"```python\n(from fastapi.*?)```", text, re.DOTALL)
    monkeypatch.chdir(shop.folder)
    namespace: dict[str, Any] = {}
    exec(example, namespace)
    token = make_token(shop, "ann")
    with listening(namespace["app"]) as url:
        assert client.get(f"{url}/migrator/healthz").json() == {"status": "ok"}
        assert client.get(f"{url}/migrator/api/health").status_code == 401
        assert client.get(f"{url}/migrator/api/health", headers=bearer(token)).status_code == 200
        answer = client.get(f"{url}/migrator/runs", headers={"accept": "text/html"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/migrator/login")
        assert client.get(f"{url}/elsewhere").status_code == 404


def test_a_body_that_does_not_come(
    shop: Project, served: Served, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who says that more comes, and sends nothing, is not waited for; the others do not notice."""
    monkeypatch.setattr(security, "PATIENCE", 0.2)
    url = served(shop)
    head = b"POST /api/upgrade HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{"
    assert raw(url, head).startswith(b"HTTP/1.1 408 ")
    assert client.get(f"{url}/healthz").status_code == 200


def test_a_session(shop: Project, served: Served, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gave a password on the page is known by a cookie, on every server with the same users, for its time."""
    url = served(shop, ANN)

    def users(toml: str) -> Passwords:
        file = shop.folder / "other.toml"
        file.write_text(f"{shop.toml.read_text('utf-8')}\n{toml}", "utf-8")
        return Passwords(load(str(file), {}).web.users)

    def answer(session: str) -> int:
        return client.get(f"{url}/api/databases", headers={"cookie": f"migrator_token={session}"}).status_code

    session = users(ANN).session("ann")
    assert answer(session) == 200
    said, _, signature = session.rpartition("_")
    until = said.rpartition("_")[2]
    for wrong in (
        f"{said.replace(until, str(int(until) + 1))}_{signature}",
        f"{said.replace(b'ann'.hex(), b'bob'.hex())}_{signature}",
        f"{said}_{signature[:-1]}{'0' if signature[-1] != '0' else '1'}",
        f"{said}_",
        f"session__{signature}",
        users(ANN.replace(ANN.split('"')[1], hashed("another"))).session("ann"),
    ):
        assert answer(wrong) == 401, wrong
    monkeypatch.setattr(_identities, "SESSION", -1)
    assert answer(users(ANN).session("ann")) == 401
