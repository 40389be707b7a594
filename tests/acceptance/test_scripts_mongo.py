"""Scripts on MongoDB: the same as on PostgreSQL where it differs underneath."""

from typing import Any

from pymongo import MongoClient

from tests.acceptance._project import Project


def test_side_by_side_and_again(project: Project, mongo_url: str) -> None:
    """Scripts run side by side under one lock, each with its own row, and again on demand."""
    project.configure(main=mongo_url)
    for name in ("one", "two", "three"):
        body = f'await ctx.db.done.update_one({{"_id": "{name}"}}, {{"$inc": {{"n": 1}}}}, upsert=True)'
        project.revision("main", name, upgrade=body, repeatable=True, rerunnable=True)
    project.good("upgrade", "head")
    document = project.good("run", "one", "two", "three", "--jobs", "3", "--json").json()
    assert [each["result"] for each in document["scripts"]] == ["ok"] * 3
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo_url) as client:
        db: Any = client.get_default_database()
        assert {row["_id"]: row["n"] for row in db.done.find()} == {"one": 2, "two": 2, "three": 2}
        live = list(db.script_run_tracker.find({"superseded_by": "", "status": "success"}))
        assert sorted(row["revision"] for row in live) == ["one", "three", "two"]


def test_verify_is_recorded(project: Project, mongo_url: str) -> None:
    """A verify alone is a run that changes no state."""
    project.configure(main=mongo_url)
    project.collection("main", "a1")
    project.good("upgrade", "head")
    project.good("verify", "--jobs", "4")
    listed = project.good("runs", "--json").json()["runs"]
    assert [run["kind"] for run in listed] == ["verify", "revision"]
    assert project.good("status", "--json").json()["databases"][0]["clean"]
