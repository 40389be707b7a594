"""The primary steps down, or loses its majority: the run ends right, or says so and the next one makes it right."""

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance._project import Child
from tests.faults.mongo_ground import COUNTED, INDEX, INDEX_IS, TRANSACTIONAL, Ground
from tests.faults.mongo_set import MongoSet, until
from tests.faults.test_mongo_signals import SLOW

pytest_plugins = ["tests.faults.mongo_fixtures"]

LOST = (0, 1, 4, 14)
"""Done all the same, a transaction that the server aborted, a lost connection, an unknown outcome."""

AFTER = 'await ctx.db.effects.update_one({"of": NAME}, {"$set": {"late": True}})'


@pytest.fixture
def ground(three: MongoSet, ground_at: Callable[..., Ground]) -> Iterator[Ground]:
    """Give a ground on the whole set of three."""
    three.healed()
    yield ground_at(three.url(""))
    three.healed()


def settled(ground: Ground, three: MongoSet, child: Child) -> None:
    """See the run end with a documented code, and one more make everything right without a person."""
    result = child.wait(60)
    assert result.exit_code in LOST, result
    pending = [row for row in ground.rows() if row["status"] == "pending"]
    assert result.exit_code != 0 or not pending
    three.healed()
    ground.expire()
    ground.project.good("upgrade", "head")
    assert ground.check() == []


@pytest.mark.parametrize("place", ["before", "after"])
def test_in_a_transaction(ground: Ground, three: MongoSet, place: str) -> None:
    """A step-down in the middle of a transaction: nothing of it stays, or all of it."""
    ground.transactional("t1")
    ground.transactional("t2", **{place: ground.gate("gate")})
    ground.transactional("t3")
    child = ground.project.start("upgrade", "head")
    ground.reached("gate", child)
    before = three.step_downs
    three.step_down()
    assert three.step_downs == before + 1
    ground.open("gate")
    settled(ground, three, child)


def test_in_an_index_build(ground: Ground, three: MongoSet) -> None:
    """A step-down while an index is built: the index is there once, and the tracker says so."""
    ground.transactional("t1")
    ground.revision("index", INDEX.replace("{NAME}", "index"), INDEX_IS.replace("{NAME}", "index"))
    ground.transactional("t2")
    primary = three.primary()
    with primary.client() as client:
        point = "hangAfterStartingIndexBuild"
        client.admin.command("configureFailPoint", point, mode="alwaysOn", data={})
        try:
            child = ground.project.start("upgrade", "head")
            building = {"command.createIndexes": "items"}
            until(lambda: ground.operations(**building) or not child.runs(), "the index is being built")
            assert child.runs(), child.wait()
            three.step_down()
        finally:
            client.admin.command("configureFailPoint", point, mode="off")
    settled(ground, three, child)


@pytest.mark.parametrize("rerunnable", [True, False])
def test_in_an_update(ground: Ground, three: MongoSet, rerunnable: bool) -> None:
    """A step-down ends a long update outside a transaction; verify, or the right to run again, tells what to do."""
    ground.transactional("t1")
    slow = SLOW.replace("QUICK", repr(str(ground.folder / "quick")))
    ground.revision("counted", slow, COUNTED, rerunnable=rerunnable)
    ground.transactional("t2")
    child = ground.project.start("upgrade", "head")
    until(lambda: ground.updating() or not child.runs(), "the update runs")
    assert child.runs(), child.wait()
    (ground.folder / "quick").touch()
    three.step_down()
    settled(ground, three, child)


def test_while_only_the_lease_is_held(ground: Ground, three: MongoSet) -> None:
    """A step-down between two writes costs nothing: the lease is kept, no second holder comes in, the run goes on."""
    ground.transactional("t1")
    gate = ground.gate("gate")
    ground.revision("again", f'{gate}\nawait ctx.db.items.update_many({{NAME: {{"$ne": 1}}}}, {{"$inc": {{NAME: 1}}}})')
    child = ground.project.start("upgrade", "head")
    ground.reached("gate", child)
    owner, until_then = ground.lease()["owner"], ground.lease()["expires"]
    three.step_down()
    until(lambda: ground.lease()["expires"] > until_then, "the lease is renewed by the new primary")
    assert ground.lease()["owner"] == owner
    second = ground.project.run("upgrade", "head", "--lock-timeout", "0s")
    assert second.exit_code == 12, second
    ground.open("gate")
    result = child.wait()
    assert result.exit_code == 0, result
    assert ground.check() == []


def test_majority_lost(ground: Ground, three: MongoSet) -> None:
    """With one member of three no commit is certain: 14 or 4 is told, and the run after the healing settles it."""
    ground.transactional("t1")
    ground.transactional("t2", after=ground.gate("gate"))
    child = ground.project.start("upgrade", "head")
    ground.reached("gate", child)
    primary = three.primary()
    for member in three.members:
        if member is not primary:
            member.send(signal.SIGSTOP)
    ground.open("gate")
    try:
        result = child.wait(90)
    finally:
        three.healed()
    assert result.exit_code in (4, 14), result
    ground.expire()
    ground.project.good("upgrade", "head")
    assert ground.check() == []


@pytest.mark.parametrize("rerunnable", [False, True])
def test_majority_lost_and_regained(ground: Ground, three: MongoSet, rerunnable: bool) -> None:
    """A primary that gave up and was elected again has lost the transaction: nothing of it stays, and it is begun
    again if the revision may run twice; otherwise the command says that running it again is enough.
    """
    ground.transactional("t1")
    ground.revision("t2", f"{TRANSACTIONAL}\n{ground.gate('gate')}\n{AFTER}", transaction=True, rerunnable=rerunnable)
    ground.transactional("t3")
    child = ground.project.start("upgrade", "head")
    ground.reached("gate", child)
    three.lose_majority()
    three.healed()
    ground.open("gate")
    result = child.wait(60)
    if rerunnable:
        assert result.exit_code == 0, result
    else:
        assert result.exit_code == 4, result
        words = " ".join(result.stderr.split())
        assert "elected a primary" in words
        assert "nothing of main:t2 is in main." in words
        assert "Correct" not in words
        ground.project.good("upgrade", "head")
    assert ground.check() == []
