"""Revisions, databases, schedules and the audit, as the API tells of them."""

from datetime import UTC, datetime
from itertools import pairwise

import httpx2

from tests._servers import sql
from tests.acceptance._project import Project, until
from tests.dashboard._api import Api
from tests.dashboard.conftest import Served


def test_revisions(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Lists by state, tag and text; one in full; its text as it ran and as it is; and how the two differ."""
    shop.tables("main", "a1", "b2", "c3")
    shop.good("upgrade")
    shop.table("main", "d4", "b2", tags=["money"])
    path = shop.folder / "revisions" / "b2.py"
    ran = path.read_text()
    later = ran.replace("(id int)", "(id bigint)")
    path.write_text(later)
    path.with_name("c3.py").unlink()
    api = Api(client, served(shop))

    def listed(**asked: object) -> list[tuple[str, str]]:
        return [(each["revision"], each["state"]) for each in api.get("/api/revisions", **asked)["revisions"]]

    assert listed() == [("a1", "applied"), ("b2", "drifted"), ("d4", "pending"), ("c3", "unknown")]
    assert listed(status=["pending", "unknown"]) == [("d4", "pending"), ("c3", "unknown")]
    assert listed(tag="money") == [("d4", "pending")]
    assert listed(q="TITLE OF B") == [("b2", "drifted")]
    report = api.get("/api/databases/main")
    assert (report["kind"], report["clean"], len(report["lines"])) == ("postgres", False, 4)
    (short,) = api.get("/api/databases")["databases"]
    assert short["counts"] == {"applied": 1, "drifted": 1, "pending": 1, "unknown": 1}
    whole = api.get("/api/revisions/main/b2")
    assert (whole["stored"], whole["on_disk"], whole["differs"]) == (True, True, True)
    assert whole["header"]["functions"] == ["downgrade", "upgrade", "verify"]
    assert api.get("/api/revisions/main/b2/source") == later
    assert api.get("/api/revisions/main/b2/source", at="stored") == ran
    diff = api.get("/api/revisions/main/b2/diff").splitlines()
    assert diff[:2] == ["--- as it ran", "+++ revisions/b2.py"]
    changed = [line for line in diff[2:] if line[0] in "+-"]
    assert [line[0] for line in changed] == ["-", "+"]
    assert "(id bigint)" in changed[1]
    assert api.get("/api/revisions/main/c3/source", at="stored")
    for there in ("main/c3/source", "main/c3/diff", "main/d4/diff", "main/d4/source?at=stored", "main/d", "x/b2"):
        api.get(f"/api/revisions/{there}", 404)


def test_a_database_that_is_away(both: Project, served: Served, client: httpx2.Client) -> None:
    """It says why, and hides no other; what is only about it is a problem."""
    both.tables("main", "a1")
    both.good("upgrade", "-d", "main")
    both.configure(main=both.urls["main"], events="postgresql://nobody@127.0.0.1:1/x")
    api = Api(client, served(both))
    main, events = api.get("/api/databases")["databases"]
    assert (main["answers"], main["counts"], events["answers"]) == (True, {"applied": 1}, False)
    assert events["error"]
    assert api.get("/api/databases/events", 503)["error"] == "ConnectionFailed"
    assert len(api.get("/scripts/runs", database="main")["runs"]) == 1


def test_a_lock(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Who holds it is told, with the run; whoever ends it gives a reason, which the audit keeps."""
    wait = 'import asyncio\nawait ctx.execute("SELECT 1")\nawait asyncio.sleep(60)'
    shop.revision("main", "a1", upgrade=wait, transaction=False)
    api = Api(client, served(shop))
    child = shop.start("upgrade")
    until(lambda: (api.get("/api/databases/main/lock")["holder"] or {}).get("doing"), "it is at work")
    holder = api.get("/api/databases/main/lock")["holder"]
    assert holder["doing"] == "a1 Title of a1"
    assert holder["pid"] == child.pid
    api.delete("/api/databases/main/lock", {}, 422)
    entry = api.delete("/api/databases/main/lock", {"reason": "it hangs"})
    assert (entry["subject"], entry["asked"]) == ("main", {"reason": "it hangs"})
    assert entry["result"]["holders"]["main"]["pid"] == child.pid
    assert child.wait().exit_code != 0


def test_schedules(shop: Project, served: Served, client: httpx2.Client) -> None:
    """What is configured, the next five times in its own zone, and how it went the last time."""
    schedules = """
[schedule.nightly]
task = "verify"
cron = "30 3 * * *"
time_zone = "Europe/Berlin"
[schedule.often]
script = "greet"
every = "10s"
max_runs = 2
params = {password = "hush"}
"""
    shop.table("main", "a1")
    shop.good("upgrade")
    api = Api(client, served(shop, schedules))
    nightly, often = api.get("/api/schedules")["schedules"]
    times = [datetime.fromisoformat(each) for each in nightly["next"]]
    assert len(times) == 5
    assert times[0] > datetime.now(UTC)
    assert {each.minute for each in times} == {30}
    assert all(23 <= (after - before).total_seconds() / 3600 <= 25 for before, after in pairwise(times))
    assert (len(often["next"]), often["last"], "params" in often) == (2, None, False)
    sql(
        shop.urls["main"],
        "INSERT INTO script_run_schedule (name, due, word, runs, message) VALUES ('often', 'x', 'failed', 2, 'so')",
    )
    until(lambda: api.get("/api/schedules")["schedules"][1]["last"], "the firing is seen")
    often = api.get("/api/schedules")["schedules"][1]
    assert (often["next"], often["last"]["word"], often["last"]["message"]) == ([], "failed", "so")


def test_the_audit_and_tokens(shop: Project, served: Served, client: httpx2.Client) -> None:
    """The audit goes by pages and actions; the text of a token is told once, and opens the door until it is revoked."""
    api = Api(client, served(shop))
    boss = api.post("/api/tokens", {"name": "boss", "role": "admin"}, 201)
    client.headers["authorization"] = f"Bearer {boss['text']}"
    made = api.post("/api/tokens", {"name": "ci", "role": "operator", "days": 7}, 201)
    text = made["text"]
    assert text.startswith(f"mgr_{made['entry']['result']['token_id']}_")
    tokens = api.get("/api/tokens")["tokens"]
    assert [(each["name"], each["role"], bool(each["expires_at"])) for each in tokens] == [
        ("boss", "admin", False),
        ("ci", "operator", True),
    ]
    assert "sha256" not in tokens[0]
    assert text not in str(api.get("/api/audit"))
    api.post("/api/tokens", {"name": "ci", "role": "viewer"}, 422)
    assert api.delete("/api/tokens/ci")["action"] == "revoke token"
    api.delete("/api/tokens/ci", status=404)
    first = api.get("/api/audit", limit=2)
    rest = api.get("/api/audit", limit=50, after=first["after"])
    assert [each["action"] for each in first["entries"] + rest["entries"]] == [
        "revoke token",
        "revoke token",
        "make token",
        "make token",
        "make token",
    ]
    assert {each["word"] for each in first["entries"]} == {"ok", "failed"}
    assert len(api.get("/api/audit", action="make token")["entries"]) == 3
    assert api.get(f"/api/audit/{made['entry']['entry_id']}")["subject"] == "ci"
    api.get("/api/audit/01k9xxyyzz0a1", 404)
