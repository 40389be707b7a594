"""Two who deploy at once and are not alike: one with older code, one that somebody ends by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymongo
import pytest

from tests._servers import sql
from tests.faults import corpus
from tests.faults._pg import Gate
from tests.faults.deployer import Deployer, run, until

WHY = "its pod is gone, checked twice"
both = pytest.mark.parametrize("kind", ["postgres", "mongo"])


@pytest.fixture
def url(kind: str, fresh_postgres: Callable[[str], str], fresh_mongo: Callable[[str], str]) -> str:
    """Give the address of an empty database of a kind."""
    return fresh_postgres("postgres18") if kind == "postgres" else fresh_mongo("mongo")


def documents(url: str, collection: str) -> list[dict[str, Any]]:
    """Return all of a collection."""
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(url) as client:
        return list(client.get_default_database()[collection].find())


def evictions(url: str) -> str:
    """Return what is kept beside the lock of those who were ended."""
    if url.startswith("mongodb"):
        return str(documents(url, "script_run_lock"))
    return str(sql(url, "SELECT evictions FROM script_run_lock")[0][0])


def applied(url: str) -> list[str]:
    """Return the revisions that are applied, in the order of their ids."""
    if url.startswith("mongodb"):
        rows = documents(url, "script_run_tracker")
        return sorted(row["revision"] for row in rows if row["status"] == "success")
    return [row[0] for row in sql(url, "SELECT revision FROM script_run_tracker WHERE status = 'success' ORDER BY 1")]


@both
def test_a_holder_that_is_ended_by_hand(folder: Path, tmp_path: Path, url: str) -> None:
    """`unlock` shows whom it would end, ends nobody without a reason, keeps the reason; the ended one says 4 or 12."""
    gate = Gate(tmp_path / "gate")
    corpus.configure(folder, url)
    corpus.revision(folder, "u1", None, gate.code, constants={"transaction": True})
    with Deployer(folder, "upgrade", "head") as holder:
        gate.reached(holder)
        for _ in range(2):
            shown = run(folder, "unlock")
            assert shown.code == 0, shown
            assert f"pid {holder.pid}" in shown.stdout
            assert "u1" in shown.stdout
            assert '--reason "..."' in shown.stdout
        assert holder.runs
        ended = run(folder, "unlock", "--reason", WHY)
        assert (ended.code, f"pid {holder.pid}" in ended.stdout) == (0, True), ended
        gate.open.touch()
        assert holder.wait(20).code in (4, 12)
    kept = evictions(url)
    assert WHY in kept
    assert f"pid {holder.pid}" in kept
    assert applied(url) == []
    assert run(folder, "upgrade", "head").code == 0
    assert applied(url) == ["u1"]


@both
@pytest.mark.parametrize("first", ["older", "newer"])
def test_two_versions_of_the_code(tmp_path: Path, url: str, first: str) -> None:
    """The later one plans from the tracker when the earlier has finished: nothing runs twice, nothing goes down."""
    gate = Gate(tmp_path / "gate")
    older, newer = tmp_path / "older", tmp_path / "newer"
    for folder in (older, newer):
        corpus.configure(folder, url)
        corpus.revision(folder, "v1", None, gate.code)
    corpus.revision(newer, "v2", "v1", ["pass"])
    order = (older, newer) if first == "older" else (newer, older)
    with Deployer(order[0], "upgrade", "head") as one:
        gate.reached(one)
        with Deployer(order[1], "upgrade", "head") as two:
            until(lambda: "waiting" in two.stderr or not two.runs, "the other one waits")
            gate.open.touch()
            ends = (one.wait(), two.wait())
    assert [each.code for each in ends] == [0, 0], ends
    assert applied(url) == ["v1", "v2"]
    if first == "newer":
        assert "ahead of these files" in ends[1].stdout + ends[1].stderr
