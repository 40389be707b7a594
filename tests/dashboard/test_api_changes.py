"""What is changed through the API: begun by a call, told by the audit, and seen like what anybody else does."""

from typing import Any

import httpx2
from starlette.requests import Request

from migrator.core.journal import Identity, Role
from tests._servers import sql
from tests.acceptance._look import documents, relations, runs
from tests.acceptance._project import Project
from tests.acceptance.test_batch_errors import TABLE
from tests.dashboard._api import Api
from tests.dashboard._server import bearer, make_token
from tests.dashboard.conftest import Served

SKIPS = """
async for batch in ctx.batches("orders", on_error="skip"):
    async with batch:
        await ctx.execute("UPDATE orders SET total = id WHERE id BETWEEN $1 AND $2", batch.first, batch.last)
"""
SCRIPT = '"""Greets."""\nrevision = "greet"\nrepeatable = True\nclass Params:\n    pass\n'


def seen(api: Api, *databases: str) -> list[tuple[Any, ...]]:
    """Return what the API tells of the runs, but for what differs from run to run."""
    told = api.get("/scripts/runs", database=list(databases))["runs"]
    return [(run["database"], run["revision"], run["direction"], run["status"], run["standing"]) for run in told]


def test_whoever_does_it(both: Project, served: Served, client: httpx2.Client) -> None:
    """What a call began and what another program did look the same, on PostgreSQL and on MongoDB."""
    both.tables("main", "a1", "b2")
    both.collection("events", "e1", depends_on=["main:a1"])
    api = Api(client, served(both))
    plan = api.post("/api/plan", {"direction": "upgrade"})
    assert [step["revision"] for step in plan["steps"]] == ["a1", "b2", "e1"]
    assert runs_of(both) == 0
    answer = client.post(f"{api.url}/api/upgrade", json={})
    entry = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/api/audit/{entry['entry_id']}")
    assert (entry["who"], entry["action"], entry["subject"]) == ("local", "upgrade", "head")
    ended = api.ended(entry)
    assert [run["revision"] for run in ended["result"]["runs"]] == ["a1", "b2", "e1"]
    by_call = seen(api, "main"), seen(api, "events")
    assert {run["user"] for run in api.get("/scripts/runs")["runs"]} == {"local"}
    assert api.get("/api/databases")["databases"][1]["counts"] == {"applied": 1}
    api.ended(api.post("/api/downgrade", {"targets": ["base"], "databases": ["events"]}, 202))
    assert documents(both.urls["events"], "c_e1") == []
    api.ended(api.post("/api/downgrade", {"targets": ["base"], "databases": ["main"]}, 202))
    assert relations(both.urls["main"]) == set()
    for name in ("main", "events"):
        assert {line["state"] for line in api.get(f"/api/databases/{name}")["lines"]} == {"pending"}
    both.good("upgrade")
    again = [each for each in seen(api) if each[2] == "upgrade" and each[3] == "success"]
    assert sorted(again) == sorted(by_call[0] + by_call[1])
    api.ended(api.post("/api/verify", {"databases": ["events"]}, 202))
    (verified,) = [run for run in api.get("/scripts/runs", database="events")["runs"] if run["kind"] == "verify"]
    assert verified["status"] == "success"


def runs_of(project: Project) -> int:
    """Return how many runs there are, 0 also where there is no tracker."""
    there = sql(project.urls["main"], "SELECT to_regclass('script_run_tracker')")[0][0]
    return len(runs(project.urls["main"])) if there else 0


def test_a_key_does_it_once(shop: Project, served: Served, client: httpx2.Client) -> None:
    """The same call with the same key answers with the same entry; for another call the key is refused."""
    shop.tables("main", "a1", "b2")
    api = Api(client, served(shop))
    key = {"Idempotency-Key": "deploy-7"}
    first = api.post("/api/upgrade", {"targets": ["a1"]}, 202, **key)
    api.ended(first)
    again = api.post("/api/upgrade", {"targets": ["a1"]}, 202, **key)
    assert again["entry_id"] == first["entry_id"]
    assert len(runs(shop.urls["main"])) == 1
    written = client.post(
        f"{api.url}/api/upgrade", content='{ "targets":["a1"] }', headers={**key, "content-type": "application/json"}
    )
    assert written.json()["entry_id"] == first["entry_id"]  # the same document
    for path, body in (
        ("/api/upgrade", {"targets": ["b2"]}),
        ("/api/upgrade", {"targets": ["a1"], "agreed": "ab12"}),
        ("/api/downgrade", {"targets": ["a1"]}),
    ):
        refused = api.post(path, body, 422, **key)
        assert refused["detail"] == "this Idempotency-Key was used for another call: upgrade a1"
    assert [entry["entry_id"] for entry in api.get("/api/audit")["entries"]] == [first["entry_id"]]


def test_failures(shop: Project, served: Served, client: httpx2.Client) -> None:
    """What fails on its way is told by its entry, with the error; a plan that cannot be made is a problem at once."""
    shop.tables("main", "a1")
    shop.revision("main", "b2", "a1", upgrade='await ctx.execute("DROP TABLE nothing")', transaction=False)
    api = Api(client, served(shop))
    ended = api.ended(api.post("/api/upgrade", {}, 202), "failed")
    assert 'table "nothing" does not exist' in ended["message"]
    assert ended["result"]["error"]["failed"]["revision"] == "b2"
    assert api.post("/api/plan", {"direction": "upgrade", "targets": ["zz"]}, 404)["error"] == "TargetNotFound"
    assert api.post("/api/plan", {"direction": "downgrade"}, 422)["hint"].startswith("For example -1")
    (run,) = api.get("/scripts/runs", status="failed")["runs"]
    where = f"/scripts/runs/{run['run_id']}/resolve"
    entry = api.post(where, {"decision": "mark-rolled-back", "reason": "looked at it"})
    assert entry["result"]["recorded"]["effect"] == "none"
    assert entry["asked"] == {"said": "mark-rolled-back: looked at it"}
    assert api.post(where, {"decision": "retry", "reason": "x"}, 404)["error"] == "TargetNotFound"


def test_scripts_and_rows_passed_over(shop: Project, served: Served, client: httpx2.Client) -> None:
    """A script is run with its parameters, whose values the audit does not keep; failed rows are taken once more."""
    shop.revision("main", "a1", upgrade=TABLE)
    shop.revision("main", "b2", "a1", upgrade=SKIPS)
    path = shop.revision("main", "greet", upgrade='ctx.log.info("hello %s", ctx.params.name)', repeatable=True)
    head, imports = path.read_text().split("async def", 1)
    path.write_text(
        f"{head}class Params:\n    name: str\n\nasync def{imports}".replace(
            "class Params", "from dataclasses import dataclass\n@dataclass\nclass Params"
        )
    )
    api = Api(client, served(shop))
    api.ended(api.post("/api/upgrade", {"targets": ["b2"]}, 202))
    (shown,) = api.get("/scripts/runs", scriptId="b2")["runs"]
    whole = api.get(f"/scripts/runs/{shown['run_id']}")
    assert [row["key"] for row in whole["failures"]] == [["77"]]
    sql(shop.urls["main"], "ALTER TABLE orders DROP CONSTRAINT orders_total_check")
    api.ended(api.post(f"/scripts/runs/{shown['run_id']}/retry-failed", None, 202))
    assert sql(shop.urls["main"], "SELECT count(*) FROM orders WHERE total IS NULL")[0][0] == 0
    entry = api.ended(api.post("/api/run", {"names": ["greet"], "params": {"name": "world"}}, 202))
    assert entry["asked"] == {"params": ["name"], "force": False}
    assert "world" not in str(entry["asked"])
    (run,) = api.get("/scripts/runs", scriptId="greet")["runs"]
    assert "hello world" in str(api.get(f"/scripts/runs/{run['run_id']}/log")["lines"])
    told = api.get("/api/revisions/main/greet")
    assert told["params"] == [{"name": "name", "type": "str", "default": ""}]
    assert told["line"]["state"] == "done"


def test_protected(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Where the environment is protected, what takes something away asks for its name; the rest does not."""
    shop.configure(top='environment = "production"\n', main=shop.urls["main"])
    shop.tables("main", "a1")
    api = Api(client, served(shop, "[environments.production]\nprotected = true\n"))
    api.ended(api.post("/api/upgrade", {}, 202))
    (run,) = api.get("/scripts/runs")["runs"]
    where = f"/scripts/runs/{run['run_id']}"
    for method, path, body in (
        ("POST", "/api/downgrade", {"targets": ["-1"]}),
        ("POST", "/api/run", {"names": ["x"], "force": True}),
        ("POST", "/scripts/runs/cleanup", {"days": 0}),
        ("POST", f"{where}/resolve", {"decision": "retry", "reason": "x"}),
        ("DELETE", where, {}),
        ("DELETE", "/api/databases/main/lock", {"reason": "x"}),
    ):
        for typed in ("", "staging"):
            refused = api.send(method, path, 409, json={**body, "confirm": typed})
            assert "Type 'production'" in refused["hint"], path
    assert len(api.get("/api/audit")["entries"]) == 1
    api.ended(api.post("/api/downgrade", {"targets": ["-1"], "confirm": "production"}, 202))
    assert api.delete("/api/databases/main/lock", {"reason": "x", "confirm": "production"})["result"] == {
        "holders": {"main": None}
    }


def test_databases_of_others(both: Project, served: Served, client: httpx2.Client) -> None:
    """Whoever may see one database sees nothing of the other, cannot name it, and makes no token for it."""
    both.tables("main", "a1")
    both.collection("events", "e1")
    both.good("upgrade")

    def identify(request: Request) -> Identity:
        role, _, databases = request.headers.get("x-test", "admin").partition(" ")
        return Identity("ann", Role(role), "test", tuple(databases.split()))

    api = Api(client, served(both, identify=identify))
    hidden = api.get("/scripts/runs", database="events")["runs"][0]["run_id"]
    api.post("/api/verify", {"databases": ["events"]}, 202)
    client.headers["x-test"] = "admin main"
    assert [run["database"] for run in api.get("/scripts/runs")["runs"]] == ["main"]
    assert [each["name"] for each in api.get("/api/databases")["databases"]] == ["main"]
    assert {each["database"] for each in api.get("/api/revisions")["revisions"]} == {"main"}
    assert list(api.get("/scripts/runs/statistics")["scripts"]) == ["main:a1"]
    assert api.get("/api/audit")["entries"] == []
    for path in (
        f"/scripts/runs/{hidden}",
        f"/scripts/runs/{hidden}/log",
        f"/scripts/runs/{hidden}/events",
        "/api/databases/events",
        "/api/databases/events/lock",
        "/api/revisions/events/e1",
        "/api/revisions/events/e1/source",
        "/scripts/runs?database=events",
        "/api/revisions?database=events",
    ):
        assert "events" not in api.get(path, 404)["hint"]
    for path, body in (("/api/upgrade", {}), ("/api/verify", {}), ("/api/plan", {"direction": "upgrade"})):
        api.post(path, {**body, "databases": ["events"]}, 404)
    api.delete("/api/databases/events/lock", {"reason": "x"}, 404)
    both.table("main", "b2", "a1", depends_on=["events:e2"])
    both.collection("events", "e2", "e1")
    refused = api.post("/api/plan", {"direction": "upgrade"}, 409)
    assert refused["detail"] == "this would change events, too, because of `depends_on`"
    ended = api.ended(api.post("/api/upgrade", {}, 202), "failed")
    assert ended["message"] == refused["detail"]
    assert documents(both.urls["events"], "c_e2") == []
    for path in ("/api/schedules", "/api/tokens"):
        api.get(path, 403)
    api.post("/api/tokens", {"name": "mine", "role": "admin"}, 403)
    api.post("/api/tokens", {"name": "mine", "role": "viewer", "databases": ["events"]}, 403)
    client.headers["x-test"] = "admin gone"
    api.get("/scripts/runs", 403)


def test_roles(shop: Project, served: Served, client: httpx2.Client) -> None:
    """A viewer changes nothing, an operator takes nothing away for good, and nobody does where it is read-only."""
    shop.tables("main", "a1")
    shop.good("upgrade")

    def identify(request: Request) -> Identity:
        return Identity("ann", Role(request.headers["x-test"]), "test")

    api = Api(client, served(shop, identify=identify))
    client.headers["x-test"] = "viewer"
    (run,) = api.get("/scripts/runs")["runs"]
    where = f"/scripts/runs/{run['run_id']}"
    operators = [
        ("POST", "/api/upgrade", {}),
        ("POST", "/api/downgrade", {"targets": ["-1"]}),
        ("POST", "/api/verify", {}),
        ("POST", "/api/run", {"names": ["x"]}),
        ("POST", "/api/plan", {"direction": "upgrade"}),
        ("POST", f"{where}/pause", {}),
        ("POST", f"{where}/resume", {}),
        ("POST", f"{where}/cancel", {"reason": "x"}),
        ("POST", f"{where}/tune", {"settings": {"max_rows": 1}}),
        ("POST", f"{where}/retry-failed", {}),
    ]
    admins = [
        ("POST", "/api/run", {"names": ["x"], "force": True}),
        ("POST", "/scripts/runs/cleanup", {}),
        ("POST", f"{where}/resolve", {"decision": "retry", "reason": "x"}),
        ("DELETE", where, {}),
        ("DELETE", "/api/databases/main/lock", {"reason": "x"}),
        ("POST", "/api/tokens", {"name": "x", "role": "viewer"}),
        ("DELETE", "/api/tokens/x", {}),
    ]
    for method, path, body in operators + admins:
        assert "ann is viewer" in api.send(method, path, 403, json=body)["detail"], path
    client.headers["x-test"] = "operator"
    for method, path, body in admins:
        assert "ann is operator" in api.send(method, path, 403, json=body)["detail"], path
    assert api.get("/api/audit")["entries"] == []
    closed = Api(client, served(shop, "[web]\nread_only = true", identify=identify))
    client.headers["x-test"] = "admin"
    for method, path, body in [operators[0], operators[1], admins[1], admins[4], admins[5]]:
        assert "read-only" in closed.send(method, path, 403, json=body)["detail"], path
    assert len(runs(shop.urls["main"])) == 1


def test_a_key_and_other_parameters(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Another value of a parameter is another call, and no value can be read in the audit."""
    path = shop.revision("main", "greet", upgrade="pass", repeatable=True)
    head, rest = path.read_text("utf-8").split("async def", 1)
    params = "from dataclasses import dataclass\n@dataclass\nclass Params:\n    password: str\n\n\n"
    path.write_text(f"{head}{params}async def{rest}", "utf-8")
    api = Api(client, served(shop))
    key = {"Idempotency-Key": "nightly"}
    body = {"names": ["greet"], "params": {"password": "hunter2"}}
    api.ended(api.post("/api/run", body, 202, **key))
    assert "hunter2" not in str(api.get("/api/audit"))
    api.post("/api/run", body, 202, **key)
    api.post("/api/run", {**body, "params": {"password": "hunter3"}}, 422, **key)
    assert len(runs(shop.urls["main"])) == 1


def test_what_was_agreed(both: Project, served: Served, client: httpx2.Client) -> None:
    """A plan has a mark: sent as `agreed`, that plan runs once, and the same call again is refused with 409."""
    both.tables("main", "a1", "b2", "c3")
    both.collection("events", "e1")
    both.good("upgrade")
    api = Api(client, served(both))
    for database, targets, left in (("main", ["-1"], ["a1", "b2"]), ("events", ["-1"], [])):
        body = {"targets": targets, "databases": [database]}
        seen = api.post("/api/plan", {"direction": "downgrade", **body})
        assert len(seen["steps"]) == 1
        api.ended(api.post("/api/downgrade", {**body, "agreed": seen["mark"]}, 202))
        refused = api.post("/api/downgrade", {**body, "agreed": seen["mark"]}, 409 if left else 404)  # nothing is left
        assert refused["state"] == "Nothing was changed."
        lines = api.get(f"/api/databases/{database}")["lines"]
        assert [line["revision"] for line in lines if line["state"] == "applied"] == left
    seen = api.post("/api/plan", {"direction": "upgrade"})
    both.tables("main", "d4")
    file = both.revisions("main") / "d4.py"
    file.write_text(file.read_text("utf-8").replace("down_revision = None", "down_revision = 'c3'"), "utf-8")
    refused = api.post("/api/upgrade", {"agreed": seen["mark"]}, 409)
    assert "the plan is not the one that was agreed to" in refused["detail"]
    newest = api.get("/api/audit")["entries"][0]
    assert (newest["action"], newest["word"]) == ("upgrade", "failed")
    seen = api.post("/api/plan", {"direction": "upgrade"})
    api.ended(api.post("/api/upgrade", {"agreed": seen["mark"]}, 202))


def test_forged_with_any_token(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Behind a trusted proxy a made-up token lets no other site in; a real one needs no proof of where it is sent."""
    token = make_token(shop, "ci")
    url = served(shop, '[web]\ntrusted_proxies = ["127.0.0.1"]\ngroups = {sre = "admin"}\n')
    ann = {"x-forwarded-user": "ann", "x-forwarded-groups": "sre"}
    forged = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    for word in ("x", "mgr_x", "mgr_0000_x"):
        made_up = {"authorization": f"Bearer {word}"}
        for more in ({}, {"cookie": "a=b"}):
            answer = client.post(f"{url}/api/upgrade", json={}, headers={**ann, **forged, **made_up, **more})
            assert answer.status_code in (401, 403), answer.text
    answer = client.post(f"{url}/api/upgrade", json={}, headers={**forged, **bearer(token)})
    assert answer.status_code == 202
    answer = client.post(f"{url}/logout", headers={**forged, "authorization": "Bearer x"})
    assert answer.status_code == 403


def test_half_applied_above(both: Project, served: Served, client: httpx2.Client) -> None:
    """What a failed child may have left keeps its parent, on both databases, whatever the link between them."""
    both.tables("main", "a1")
    both.collection("events", "e1")
    both.good("upgrade")
    both.revision("main", "b2", "a1", upgrade='await ctx.execute("CREATE TABLE b2 ()")\n1 / 0', transaction=False)
    insert = 'await ctx.db.c_e2.insert_one({"a": 1})\n1 / 0'
    both.revision("events", "e2", "e1", upgrade=insert, transaction=False, depends_on=["main:a1"])
    assert both.run("upgrade", "main:head").exit_code == 1
    assert both.run("upgrade", "events:head").exit_code == 1
    for target, child in (("main:-1", "b2"), ("events:-1", "e2")):
        refused = both.run("downgrade", target, "--json")
        assert refused.exit_code == 14
        assert f"{child} (Title of {child}) depends on what is to go down" in refused.error()["message"]
    run = next(each for each in both.good("runs", "--json").json()["runs"] if each["revision"] == "b2")
    both.good("resolve", run["run_id"], "--mark-rolled-back", "--reason", "dropped by hand")
    assert "e2 (Title of e2) depends" in both.run("downgrade", "main:-1").stderr
