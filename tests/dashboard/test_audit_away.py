"""The database that keeps the audit goes away while a change of another one is done."""

from pathlib import Path

import httpx2
import pytest

from migrator.dashboard import _asking
from tests.acceptance._project import Project, until
from tests.dashboard._api import Api
from tests.dashboard.conftest import Served
from tests.faults._pg import Server


def test_the_end_is_written_when_it_is_back(
    project: Project,
    postgres_url: str,
    tmp_path: Path,
    served: Served,
    client: httpx2.Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The change goes on to its end without the audit, and its entry is ended as soon as there is one again."""
    monkeypatch.setattr(_asking, "AGAIN", 0.2)
    gate = tmp_path / "gate"
    with Server(tmp_path / "server") as home:
        project.configure(home=home.url, main=postgres_url)
        wait = f"import asyncio, pathlib\nwhile not pathlib.Path({str(gate)!r}).exists(): await asyncio.sleep(0.02)"
        project.revision("main", "a1", upgrade=wait)
        api = Api(client, served(project))
        entry = api.post("/api/upgrade", {"databases": ["main"]}, 202)
        until(lambda: api.get("/scripts/runs", database="main", status="running")["runs"], "it runs")
        home.stop()
        gate.touch()
        until(lambda: api.get("/scripts/runs", database="main", status="success")["runs"], "it has ended")
        home.start()
        assert api.ended(entry)["word"] == "ok"
