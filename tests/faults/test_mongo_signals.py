"""Signals, dead holders, silent and forbidding servers: told with the right words, and nothing runs on."""

import asyncio
import signal
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.acceptance._project import Child
from tests.faults.mongo_ground import AGAIN, COUNTED, Ground, paused, upgrade
from tests.faults.mongo_set import Member, until
from tests.faults.mongo_wire import nth
from tests.faults.proxy import OP_MSG, Do, Proxy

pytest_plugins = ["tests.faults.mongo_fixtures"]

BUDGET = 10.0
"""Seconds from the first signal to the end of the program."""

SILENT = 30.0
"""Seconds after which a command is over whose server does not answer any more."""

SLOW = """
quick = Path(QUICK).exists()
slow = {} if quick else {"$where": "sleep(2000) || true"}
await ctx.db.items.update_many({NAME: {"$ne": 1}, **slow}, {"$inc": {NAME: 1}})
"""
WITNESS = """
running = [{"$currentOp": {"allUsers": True}}, {"$match": {"ns": ctx.db.name + ".items", "op": {"$in": ["update"]}}}]
seen = [each async for each in await ctx.db.client.admin.aggregate(running)]
await ctx.db.witness.insert_one({"seen": len(seen)})
"""


def slow(ground: Ground, transaction: bool) -> None:
    """Write a line with a long update in the middle, which is quick once `hurry` was called."""
    ground.transactional("t1")
    body = SLOW.replace("QUICK", repr(str(ground.folder / "quick")))
    verify = COUNTED if transaction else WITNESS + COUNTED
    ground.revision("counted", body, verify, transaction=transaction, rerunnable=True)
    ground.transactional("t2")


def said(child: Child) -> str:
    """Return what a program has printed so far."""
    return "".join(file.read_text("utf-8") for file in child._texts)


def hurry(ground: Ground) -> None:
    """Let the long update be quick from now on."""
    (ground.folder / "quick").touch()


def in_update(ground: Ground) -> Child:
    """Start an upgrade and return when its long update runs on the server."""
    child = ground.project.start("upgrade", "head")

    def is_running() -> bool:
        """Return whether it is the long one: the step before it updates the same collection."""
        return ("counted", "pending", "unknown") in ground.statuses() and bool(ground.updating())

    until(lambda: is_running() or not child.runs(), "the update runs")
    assert child.runs(), child.wait()
    return child


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("transaction", [True, False], ids=["transaction", "plain"])
def test_signal_in_a_long_update(ground: Ground, transaction: bool, number: signal.Signals) -> None:
    """A signal ends the program with 130 in its budget, and the update on the server with it; the next run is right."""
    slow(ground, transaction)
    child = in_update(ground)
    began = time.monotonic()
    child.send(number)
    result = child.wait(BUDGET + 1)
    assert time.monotonic() - began < BUDGET
    assert result.exit_code == 130, result
    assert ground.operations() == []
    assert not ground.held()
    end = ("failed", "none") if transaction else ("pending", "unknown")
    assert ground.statuses() == [("t1", "success", "full"), ("counted", *end)]
    hurry(ground)
    ground.project.good("upgrade", "head")
    assert ground.check() == []


@pytest.mark.parametrize("transaction", [True, False], ids=["transaction", "plain"])
def test_second_signal(ground: Ground, transaction: bool) -> None:
    """A second signal ends the program at once, and the next run settles what it left."""
    slow(ground, transaction)
    child = in_update(ground)
    with paused(child):  # both arrive together, so the second cannot come too late
        child.send(signal.SIGINT)
        child.send(signal.SIGTERM)
    assert child.wait(BUDGET).exit_code == 130
    hurry(ground)
    ground.expire()
    ground.project.good("upgrade", "head")
    assert ground.check() == []


@pytest.mark.parametrize("transaction", [True, False], ids=["transaction", "plain"])
def test_killed_in_a_long_update(ground: Ground, transaction: bool) -> None:
    """After SIGKILL the update runs on; the next holder ends it and its session before it asks what was done."""
    slow(ground, transaction)
    child = in_update(ground)
    child.send(signal.SIGKILL)
    child.wait()
    assert ground.updating(), "the update ended with its client, so this test shows nothing"
    ground.expire()
    hurry(ground)
    ground.project.good("upgrade", "head")
    assert ground.check() == []
    seen = [each["seen"] for each in ground.db["witness"].find()]
    assert seen == ([] if transaction else [0, 0])


def test_killed_and_waited_for(mongo_url: str, ground_at: Callable[..., Ground]) -> None:
    """Without anybody's help a deployer that waits starts its work as soon as the dead holder's lease has run out."""
    grounds = {where: ground_at(mongo_url, folder=where) for where in ("idle", "in a statement")}
    idle, busy = grounds.values()
    idle.revision("again", idle.gate("gate") + AGAIN, rerunnable=True)
    slow(busy, transaction=True)
    holders = [idle.project.start("upgrade", "head"), in_update(busy)]
    idle.reached("gate", holders[0])
    hurry(busy)
    waiters = [ground.project.start("upgrade", "head") for ground in grounds.values()]
    until(lambda: all("waiting" in said(waiter) for waiter in waiters), "both wait")
    fences = [ground.lease()["fence"] for ground in grounds.values()]
    began, took = time.monotonic(), dict.fromkeys(grounds, 0.0)
    for holder in holders:
        holder.send(signal.SIGKILL)

    def taken() -> bool:
        for (where, ground), fence in zip(grounds.items(), fences, strict=True):
            if not took[where] and ground.db["script_run_tracker"].find_one({"fence": {"$gt": fence}}):
                took[where] = time.monotonic() - began
        return all(took.values())

    until(taken, "both are at work")
    print("from SIGKILL to the next one's first run:", {where: f"{each:.1f} s" for where, each in took.items()})
    assert max(took.values()) < 15 + 2
    for waiter, ground in zip(waiters, grounds.values(), strict=True):
        assert waiter.wait().exit_code == 0
        assert ground.check() == []


def test_black_hole(ground: Ground, mongo_url: str) -> None:
    """A server that goes silent in a step, with the connection open, ends the program with 4 and the right words."""
    ground.transactional("t1")
    ground.transactional("t2", before=ground.gate("gate"))
    parts = urlsplit(mongo_url)
    with Proxy(parts.hostname or "", parts.port or 0, OP_MSG) as proxy:
        ground.direct(f"mongodb://127.0.0.1:{proxy.port}/{ground.name}?directConnection=true")
        child = ground.project.start("upgrade", "head")
        ground.reached("gate", child)
        proxy.black_hole()
        ground.open("gate")
        began = time.monotonic()
        result = child.wait(60)
        took = time.monotonic() - began
    print(f"after the server went silent: {took:.1f} s")
    assert result.exit_code == 4, result
    assert took < SILENT
    ground.direct()
    ground.expire()
    ground.project.good("upgrade", "head")
    assert ground.check() == []


def test_server_restarts_in_the_middle(single: Member, ground_at: Callable[..., Ground]) -> None:
    """The server dies in a step and comes back: the program ends with 4, and the next run applies all of it."""
    ground = ground_at(f"mongodb://{single.host}/", wait="2s")
    ground.transactional("t1")
    ground.transactional("t2", after=ground.gate("gate"))
    child = ground.project.start("upgrade", "head")
    ground.reached("gate", child)
    single.kill()
    ground.open("gate")
    result = child.wait(40)
    assert result.exit_code == 4, result
    single.start()
    until(lambda: ground.client.admin.command("hello")["isWritablePrimary"], "it is primary")
    ground.expire()
    ground.project.good("upgrade", "head")
    assert ground.check() == []


def test_wrong_password(guarded: Member, ground_at: Callable[..., Ground]) -> None:
    """A password that the server does not take ends with 5, and no part of it is printed."""
    ground = ground_at(f"mongodb://root:pw@{guarded.host}/?authSource=admin")
    ground.transactional("t1")
    ground.direct(f"mongodb://root:pu3rile@{guarded.host}/{ground.name}?authSource=admin")
    result = ground.project.run("upgrade", "head")
    assert result.exit_code == 5, result
    assert "pu3rile" not in result.text
    assert ground.rows() == []


def test_a_user_who_may_only_read(guarded: Member, ground_at: Callable[..., Ground]) -> None:
    """Whoever may not write is told with 5 and what to grant, by `upgrade` and by `doctor`; nothing is changed."""
    ground = ground_at(f"mongodb://root:pw@{guarded.host}/?authSource=admin")
    ground.transactional("t1")
    ground.direct(f"mongodb://reader:pw@{guarded.host}/shop?authSource=admin")
    result = ground.project.run("upgrade", "head")
    assert result.exit_code == 5, result
    assert "readWrite on this database" in result.text
    told = ground.project.run("doctor")
    assert told.exit_code != 0
    assert "may not" in told.text
    assert ground.client["shop"].list_collection_names() == []


def test_standalone_server(standalone: Member, ground_at: Callable[..., Ground]) -> None:
    """A transactional revision on a server without transactions is refused with 2, and nothing is changed."""
    ground = ground_at(f"mongodb://{standalone.host}/")
    ground.transactional("t1")
    result = ground.project.run("upgrade", "head")
    assert result.exit_code == 2, result
    assert "--replSet" in result.text
    assert ground.db["effects"].count_documents({}) == 0
    assert [row for row in ground.rows() if row["status"] != "failed" or row["effect"] != "none"] == []
    assert not ground.held()


async def test_cancelled_in_a_commit(ground: Ground, mongo_url: str) -> None:
    """Whoever stops the program while a step is being committed gets a stop, and not a lost lock; the step is done."""
    ground.transactional("t1")
    ground.transactional("t2")
    parts = urlsplit(mongo_url)
    with Proxy(parts.hostname or "", parts.port or 0, OP_MSG) as proxy:
        proxy.reset(nth("commitTransaction", 2, Do.HOLD))
        first = asyncio.create_task(upgrade(ground.config(ground.through(proxy))))
        await asyncio.to_thread(proxy.wait_fired)
        first.cancel()
        await asyncio.sleep(0)
        proxy.release()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert ground.statuses()[0] == ("t1", "success", "full")
    assert await upgrade(ground.config()) == 0
    assert ground.check() == []
