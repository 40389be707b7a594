"""What holds a long change back on MongoDB: it stands still, says why, and goes on when the cause has gone."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from migrator.adapters.mongo import adapter
from migrator.core.errors import PermissionDenied, UsageError
from migrator.core.url import Url
from tests.acceptance._project import Child
from tests.faults.mongo_ground import ITEMS, Ground
from tests.faults.mongo_set import Member, MongoSet, until

pytest_plugins = ["tests.faults.mongo_fixtures"]

STEP = 'await ctx.db.items.update_many(batch.where, {"$inc": {NAME: 1}})'


def write(ground: Ground, throttle: str, *inside: str) -> None:
    """Write a long change of ten batches, with these lines in the body of each."""
    lines = [f'async for batch in ctx.batches("items", target=60, max_rows=2, throttle={throttle}):']
    body = ["async with batch:", *(f"    {line}" for line in (STEP, *inside))]
    ground.revision("long", "\n".join([*lines, *(f"    {line}" for line in body)]))


def checkpoint(ground: Ground) -> dict[str, Any]:
    """Return the checkpoint, {} where there is none yet."""
    return ground.db["script_run_checkpoint"].find_one() or {}


def stands(ground: Ground, child: Child, why: str) -> str:
    """Wait until it stands still for this reason, and return the reason."""

    def reason() -> str:
        return str(checkpoint(ground).get("waiting", ""))

    until(lambda: why in reason() or not child.runs(), f"it stands still: {why}")
    assert child.runs(), child.wait().text
    return reason()


def done(ground: Ground, child: Child, *kinds: str) -> None:
    """Wait for its good end: every document was changed once, and it stood still for reasons of these kinds."""
    ended = child.wait()
    assert ended.exit_code == 0, ended
    assert {item["long"] for item in ground.db["items"].find()} == {1}
    found = checkpoint(ground)
    assert (found["done"], found["waiting"]) == (True, "")
    assert {kind for kind, seconds in found["throttled"].items() if seconds > 0} == set(kinds)


@contextmanager
def not_applying(member: Member) -> Iterator[None]:
    """Let a secondary take what is written, and not apply it, for the length of a block."""
    with member.client() as client:
        client.admin.command("configureFailPoint", "rsSyncApplyStop", mode="alwaysOn")
        try:
            yield
        finally:
            client.admin.command("configureFailPoint", "rsSyncApplyStop", mode="off")


@contextmanager
def silent(member: Member) -> Iterator[None]:
    """Stop a member for the length of a block."""
    member.send(signal.SIGSTOP)
    try:
        yield
    finally:
        member.send(signal.SIGCONT)


def last(three: MongoSet) -> Member:
    """Return a secondary that nobody copies from: without the other one there is no majority."""
    primary = three.primary()
    with primary.client() as client:
        sources = {each["syncSourceHost"] for each in client.admin.command("replSetGetStatus")["members"]}
    return next(member for member in three.members if member is not primary and member.host not in sources)


@pytest.mark.parametrize("fault", [not_applying, silent])
def test_lag(
    three: MongoSet, ground_at: Callable[..., Ground], fault: Callable[[Member], AbstractContextManager[None]]
) -> None:
    """By default a secondary that falls behind or silent holds back, and the change goes on when it is back."""
    three.healed()
    ground = ground_at(three.url(""))
    gate = ground.gate("gate").strip().splitlines()
    write(ground, "{}", "await asyncio.sleep(1.2)", "if batch.first == 6:", *(f"    {line}" for line in gate))
    secondary = last(three)
    child = ground.project.start("upgrade", "head")
    ground.reached("gate", child)
    with fault(secondary):
        ground.open("gate")
        assert stands(ground, child, "lag: ").endswith(f" s >= 2 s on {secondary.host}")
        assert checkpoint(ground)["rows"] < ITEMS
    done(ground, child, "lag")


def test_query_and_long_transaction(ground: Ground) -> None:
    """A command of the revision's own holds back while its first value is true, and so does an old transaction."""
    find = {"find": "flags", "filter": {"stop": True}, "projection": {"_id": 0, "stop": 1}}
    write(ground, repr({"query": find, "long_transactions": "1s"}))
    ground.db["flags"].insert_one({"stop": True})
    with ground.client.start_session() as session, session.start_transaction():
        ground.db["others"].insert_one({}, session=session)
        child = ground.project.start("upgrade", "head")
        assert stands(ground, child, "query") == "query: it gave true"
        assert checkpoint(ground)["rows"] == 0
        ground.db["flags"].delete_many({})
        assert stands(ground, child, "long_transactions: the oldest is ").endswith(" s >= 1 s old")
    done(ground, child, "query", "long_transactions")


async def test_what_the_server_does_not_tell(guarded: Member) -> None:
    """Without the privilege nobody sees the transactions of others; a command that gives no value is refused."""
    address = f"mongodb://reader:pw@{guarded.host}/shop?authSource=admin&directConnection=true"
    found = adapter("main", Url.parse(address, "url"), pool=2, connect_timeout=5.0, release="test")
    async with found.signals() as signals:
        with pytest.raises(PermissionDenied):
            await signals.oldest()
        assert await signals.lag() is None
        assert await signals.value({"count": "nothing"}) == 0
        assert await signals.value({"find": "nothing"}) is None
        with pytest.raises(UsageError, match="no find, aggregate or count"):
            await signals.value({"ping": 1})
