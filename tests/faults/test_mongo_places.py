"""A secondary, and a user with few rights: `doctor` and `upgrade` say the same."""

from collections.abc import Callable
from typing import Any

from migrator.adapters import mongo
from migrator.core.url import Url
from tests.acceptance._project import Project
from tests.faults.mongo_ground import Ground
from tests.faults.mongo_set import Member, MongoSet

pytest_plugins = ["tests.faults.mongo_fixtures"]


def test_directly_to_a_secondary(three: MongoSet, ground_at: Callable[..., Ground]) -> None:
    """It can be looked at; `doctor`, `upgrade` and `unlock` name the option that leads to it, and none says free."""
    three.healed()
    ground = ground_at(three.url(""))
    ground.transactional("t1")
    ground.project.good("upgrade", "head")
    ground.transactional("t2")
    primary = three.primary()
    secondary = next(member for member in three.members if member is not primary)
    ground.direct(f"mongodb://{secondary.host}/{ground.name}?directConnection=true")
    assert ground.project.states() == {"t1": "applied", "t2": "pending"}
    found = ground.project.run("doctor", "--json").json()["databases"]["main"]
    assert found["status"] == "failing"
    for command in (("upgrade", "head"), ("unlock", "--reason", "test")):
        result = ground.project.run(*command)
        assert result.exit_code == 5, result
        assert "secondary" in result.text
        assert "directConnection" in result.text
    ground.direct()
    ground.project.good("upgrade", "head")
    assert ground.check() == []


async def _doctor(url: str) -> dict[str, str]:
    adapter = mongo.adapter("main", Url.parse(url, "test"))
    return {each.subject: each.level for each in await adapter.examine()}


ONE_BY_ONE = [
    {"resource": {"db": "shop", "collection": name}, "actions": ["find", "insert", "update", "remove"]}
    for name in ("script_run_lock", "script_run_tracker", "script_run_checkpoint", "things")
]
"""Rights on single collections, as a careful administrator grants them when the tracker is there."""


async def test_users_with_few_rights(guarded: Member, tmp_path: Any) -> None:
    """What `doctor` lets pass, `upgrade` can do, and the other way round."""
    with guarded.client(username="root", password="pw") as client:
        shop = client["shop"]
        shop.command("createUser", "writer", pwd="pw", roles=["readWrite"])
        shop.command("createRole", "single", privileges=ONE_BY_ONE, roles=[])
        shop.command("createUser", "careful", pwd="pw", roles=["single"])
        shop.command("createUser", "looker", pwd="pw", roles=["read"])
    project = Project(tmp_path / "project")
    project.folder.mkdir()
    for user, passes in (("looker", False), ("careful", False), ("writer", True), ("careful", True), ("looker", False)):
        url = f"mongodb://{user}:pw@{guarded.host}/shop"
        project.configure(main=url)
        last = sorted(path.stem for path in project.revisions("main").glob("*.py"))
        name = f"r{len(last)}"
        project.revision("main", name, last[-1] if last else None, upgrade="await ctx.db.things.insert_one({})")
        levels = await _doctor(url)
        result = project.run("upgrade", "head")
        code = result.exit_code
        assert (levels["privileges"] == "ok", code == 0) == (passes, passes), f"{user} {result.text}"
    project.close()
