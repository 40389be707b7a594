"""What a run says: its log by pages and as a text, and its events as they come, whoever runs it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2

from tests._servers import sql
from tests.acceptance._long import in_the_middle, long_change
from tests.acceptance._project import Project, until
from tests.dashboard._api import Api
from tests.dashboard.conftest import Served

SAYS = """
import asyncio, pathlib
for number in range(300):
    ctx.log.log(40 if number % 100 == 7 else 20, "line %d", number)
while not pathlib.Path("go").exists():
    await asyncio.sleep(0.05)
ctx.log.info("it goes on")
"""


class Event(NamedTuple):
    """One event of a stream."""

    name: str
    id: str
    data: Any


@contextmanager
def listening(api: Api, run_id: str, last: str = "") -> Iterator[Iterator[Event]]:
    """Give the events of a run as they come; `last` is the id of the last one that was seen."""
    headers = {"last-event-id": last} if last else {}
    with api.client.stream("GET", f"{api.url}/scripts/runs/{run_id}/events", headers=headers) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        yield _events(stream.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif fields:
            yield Event(fields["event"], fields["id"], json.loads(fields["data"]))
            fields = {}


def said(events: list[Event]) -> list[str]:
    """Return what the lines say that came with events."""
    lines = [line["text"] for event in events if event.name == "log" for line in event.data["lines"]]
    return [line.rpartition("] ")[2] for line in lines if "] line " in line or "goes on" in line]


def pending(api: Api) -> str:
    """Return the id of the run that goes on, when it does."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = api.get("/scripts/runs", status="running")["runs"]
        return bool(found)

    until(there, "a run goes on")
    return str(found[0]["run_id"])


def test_a_run_of_somebody_else(shop: Project, served: Served, client: httpx2.Client) -> None:
    """A run of another program is followed as it goes; whoever comes back gets what came meanwhile, once."""
    shop.revision("main", "a1", upgrade=SAYS, transaction=False)
    api = Api(client, served(shop))
    child = shop.start("upgrade")
    run_id = pending(api)
    log = next(shop.folder.glob("logs/*.log"))
    until(lambda: "line 299" in log.read_text(), "it has said much")
    with listening(api, run_id) as events:
        state = next(events)
        assert (state.name, state.data["standing"]) == ("state", "running")
        lines = next(events)
        assert said([lines]) == [f"line {number}" for number in range(200, 300)]
    (shop.folder / "go").touch()
    assert child.wait().exit_code == 0
    with listening(api, run_id, lines.id) as events:
        rest = list(events)
    assert rest[-1].name == "end"
    assert said(rest) == ["it goes on"]
    assert (rest[-1].data["standing"], rest[-1].data["effect"]) == ("success", "full")
    the_log(api, run_id, log.read_text())


def the_log(api: Api, run_id: str, text: str) -> None:
    """Check the same log by pages, filtered, from its end, and as a text."""
    path = f"/scripts/runs/{run_id}/log"
    place, mark, found = 0, "", []
    while True:
        page = api.get(path, limit=100, offset=place, mark=mark)
        found += [line["text"] for line in page["lines"]]
        place, mark = page["next_offset"], page["mark"]
        if page["complete"]:
            break
    assert found == text.splitlines()
    assert page["size"] == place == len(text.encode())
    errors = api.get(path, level="ERROR")["lines"]
    assert [line["text"].rpartition("] ")[2] for line in errors] == ["line 7", "line 107", "line 207"]
    assert [line["level"] for line in errors] == ["ERROR"] * 3
    assert len(api.get(path, q="LINE 10")["lines"]) == 11
    last = api.get(path, lastlines=2)
    assert [line["text"] for line in last["lines"]] == text.splitlines()[-2:]
    assert [each["text"] for each in api.get(path, lastlines=1, before=last["start"])["lines"]] == [found[-3]]
    whole = api.client.get(f"{api.url}{path}", headers={"accept": "text/plain"})
    assert whole.text == text
    assert whole.headers["content-type"].startswith("text/plain")
    assert run_id in whole.headers["content-disposition"]
    errors = api.client.get(f"{api.url}{path}?level=ERROR&q=line%20107", headers={"accept": "text/plain"})
    assert errors.text.count("\n") == 1


def test_a_log_that_is_away(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Why there is none is said, with what the tracker kept; a name that leads elsewhere is not opened."""
    shop.revision("main", "a1", upgrade='ctx.log.info("kept")\nraise RuntimeError("no")')
    assert shop.run("upgrade").exit_code == 1
    api = Api(client, served(shop))
    (run,) = api.get("/scripts/runs")["runs"]
    path = f"/scripts/runs/{run['run_id']}"
    for name in ("../../../../etc/passwd", f"gone-20260101T000000Z-{run['run_id']}.log"):
        sql(shop.urls["main"], f"UPDATE script_run_tracker SET log_file = '{name}'")
        page = api.get(f"{path}/log")
        assert page["lines"] == []
        assert page["note"]
        assert page["kept"] == ["[INFO] kept"]
        assert api.get(path)["log"]["size"] == 0
        text = api.client.get(f"{api.url}{path}/log", headers={"accept": "text/plain"})
        assert (text.status_code, text.json()["detail"]) == (404, page["note"])
        with listening(api, run["run_id"]) as events:
            told = list(events)
        assert [event.name for event in told] == ["state", "log", "end"]
        assert told[1].data["note"]


def test_a_long_change(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Its progress comes as events; what is asked of it here is obeyed there, and told why it stands still."""
    long_change(shop)
    api = Api(client, served(shop))
    with in_the_middle(shop) as child:
        (change,) = api.get("/api/changes")["changes"]
        run = f"/scripts/runs/{change['run_id']}"
        with listening(api, change["run_id"]) as events:
            seen = [next(events)]
            api.post(f"{run}/pause", {"reason": "lunch"})
            while seen[-1].name != "throttled" or "lunch" not in seen[-1].data["waiting"]:
                seen.append(next(events))
            assert api.get("/api/changes")["changes"][0]["standing"] == "paused"
            assert api.get(run)["change"]["control"]["by"] == "local@" + api.get(run)["host"]
            entry = api.post(f"{run}/tune", {"settings": {"max_rows_per_second": 0, "max_rows": 500}})
            assert entry["asked"] == {"said": "max_rows=500 max_rows_per_second=0.0"}
            api.post(f"{run}/resume")
            seen += list(events)
        assert child.wait().exit_code == 0
    assert {event.name for event in seen} == {"state", "progress", "throttled", "log", "end"}
    rows = [event.data["loops"][0]["rows"] for event in seen if event.name == "progress"]
    assert rows == sorted(rows)
    assert rows[-1] == 1000
    assert seen[-1].data["standing"] == "success"
    actions = [entry["action"] for entry in api.get("/api/audit")["entries"]]
    assert actions == ["resume", "tune", "pause"]
    assert "no long change" in api.post(f"{run}/pause", status=404)["detail"]
