"""Long changes on MongoDB under faults: whatever befalls them, every document is changed exactly once."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import pytest

from migrator.adapters.mongo import adapter
from migrator.adapters.mongo._changes import Changes
from migrator.adapters.mongo._ledger import MongoLedger
from migrator.core.batch import Checkpoint
from migrator.core.errors import RunFailed, UsageError
from migrator.core.protocols import Owner
from migrator.core.url import Url
from migrator.runtime.migrator import Migrator
from tests.faults.mongo_ground import ITEMS, LEAKS, Ground, paused, upgrade
from tests.faults.mongo_set import Member, MongoSet, until
from tests.faults.mongo_wire import command, nth
from tests.faults.proxy import Do, Message, Plan, Proxy
from tests.faults.test_mongo_guards import both, done, interrupted, judged

pytest_plugins = ["tests.faults.mongo_fixtures"]
pytestmark = [*LEAKS]
Impatient: TypeAlias = Callable[[], AbstractContextManager[None]]
Patch = pytest.MonkeyPatch

PLACES = ("before", "after", "between")
"""In a batch that wrote nothing yet, in one that wrote, and between two."""


def written(ground: Ground, place: str) -> None:
    """Write a line with a batched revision that stands at a gate in its second batch, or behind its first."""
    ground.transactional("t1")
    second = f"if batch.first == 7:\n{_deep(ground.gate('gate'))}"
    ground.batched("batches", **{place: second if place != "between" else ground.gate("gate")})
    ground.transactional("t2")


def _deep(lines: str) -> str:
    return "\n".join(f"    {line}" for line in lines.strip().splitlines())


@pytest.mark.parametrize("place", PLACES)
def test_killed(ground: Ground, place: str) -> None:
    """Killed at any place, the next `upgrade head` goes on at the checkpoint, and says what was done before."""
    written(ground, place)
    child = ground.project.start("upgrade", "head")
    ground.reached("gate", child)
    child.send(signal.SIGKILL)
    child.wait()
    before = ground.db["items"].count_documents({"batches": 1})
    ground.expire()
    ground.project.good("upgrade", "head")
    assert ground.check() == []
    killed, last = [row for row in ground.rows() if row["revision"] == "batches"]
    assert (killed["status"], killed["effect"], killed["reason"]) == ("failed", "partial", "interrupted")
    assert (last["status"], last["progress"]["guarantee"]) == ("success", "exactly once")
    assert (last["progress"]["loops"][0]["before"], before) == (7, 7)


@pytest.mark.parametrize("place", PLACES)
def test_overtaken(ground: Ground, place: str) -> None:
    """Stopped past its lease, overtaken by another who finishes the work, resumed: none of its batches lands."""
    written(ground, place)
    holder = ground.project.start("upgrade", "head")
    ground.reached("gate", holder)
    with paused(holder):
        ground.expire()
        ground.open("gate")
        ground.project.good("upgrade", "head")
        rows, items = ground.rows(), list(ground.db["items"].find())
        assert ground.check() == []
    result = holder.wait(30)
    assert result.exit_code == 12, result
    assert (ground.rows(), list(ground.db["items"].find())) == (rows, items)
    assert ground.check() == []


@pytest.mark.parametrize("place", ["after", "between"])
def test_a_step_down(three: MongoSet, ground_at: Callable[..., Ground], place: str) -> None:
    """The primary steps down in the middle: the batch is begun again on the next one, and the run ends well."""
    three.healed()
    ground = ground_at(three.url(""))
    written(ground, place)
    child = ground.project.start("upgrade", "head")
    ground.reached("gate", child)
    before = three.step_downs
    three.step_down()
    assert three.step_downs == before + 1
    ground.open("gate")
    result = child.wait(60)
    three.healed()
    assert result.exit_code == 0, result
    assert ground.check() == []


BLIPS = {
    "at the checkpoint's move": ("update", b"script_run_checkpoint"),
    "in the body": ("update", b"items"),
    "at the commit": ("commitTransaction", b""),
    "before the next page": ("find", b"items"),
    "at what people ask": ("find", b"script_run_control"),
}


def cut(name: str, text: bytes) -> Plan:
    """Cut the connection once, behind the first such command since the first batch began; its answer is lost."""
    begun, over = False, False

    def plan(message: Message) -> Do:
        nonlocal begun, over
        begun = begun or (command(message) == "update" and b"script_run_checkpoint" in message.payload)
        if over or not begun or command(message) != name or text not in message.payload:
            return Do.PASS
        over = True
        return Do.CUT_REPLY

    return plan


@pytest.mark.parametrize("at", BLIPS.values(), ids=BLIPS.keys())
async def test_a_blip(ground: Ground, wire: Proxy, at: tuple[str, bytes]) -> None:
    """One lost answer anywhere costs at most a batch that is begun again: the run ends well, without a person."""
    ground.batched("batches")
    wire.reset(cut(*at))
    assert await upgrade(ground.config(ground.through(wire))) == 0
    assert len(wire.fired) == 1
    assert ground.check() == []


def test_the_primary_dies(three: MongoSet, ground_at: Callable[..., Ground]) -> None:
    """Killed with its set while a batch is open: nothing of the batch is left, and it is done by the next primary."""
    three.healed()
    ground = ground_at(three.url(""))
    written(ground, "after")
    child = ground.project.start("upgrade", "head")
    ground.reached("gate", child)
    three.primary().kill()
    ground.open("gate")
    result = child.wait(60)
    three.healed()
    assert result.exit_code == 0, result
    assert ground.check() == []


async def test_without_transactions(standalone: Member, ground_at: Callable[..., Ground]) -> None:
    """A standalone server: refused before anything is changed, unless the revision may run twice; and then said."""
    ground = ground_at(f"mongodb://{standalone.host}/")
    ground.batched("batches")
    with pytest.raises(UsageError, match="without transactions") as caught:
        await _refused(ground)
    assert "rerunnable = True" in caught.value.hint
    assert ground.db["items"].count_documents({"batches": {"$exists": True}}) == 0
    path = ground.project.revisions("main") / "batches.py"
    path.write_text(path.read_text("utf-8").replace("down_revision", "rerunnable = True\ndown_revision", 1), "utf-8")
    assert await upgrade(ground.config()) == 0
    assert ground.check() == []
    assert ground.rows()[-1]["progress"]["guarantee"] == "at least once"


async def test_another_database(ground: Ground) -> None:
    """What a batch does in another database does not commit with its checkpoint, so the revision must say so."""
    other = 'async with ctx.database("main") as main:\n    await main.db.others.insert_one({})'
    ground.batched("batches", before=other)
    with pytest.raises(UsageError, match="what is changed in main"):
        await _refused(ground)
    assert ground.db["others"].count_documents({}) == 0
    path = ground.project.revisions("main") / "batches.py"
    path.write_text(path.read_text("utf-8").replace("down_revision", "rerunnable = True\ndown_revision", 1), "utf-8")
    assert await upgrade(ground.config()) == 0
    assert ground.rows()[-1]["progress"]["guarantee"] == "at least once"


async def _refused(ground: Ground) -> None:
    """Upgrade, and raise what ended the step."""
    async with Migrator.open(ground.config()) as migrator:
        with pytest.raises(RunFailed) as caught:
            await migrator.upgrade("head")
    cause: BaseException | None = caught.value
    while cause is not None and not isinstance(cause, UsageError):
        cause = cause.__cause__
    raise cause or caught.value


ROWS = """
async for batch in ctx.batches("items", max_rows=7, name=NAME, on_error="skip"):
    async with batch:
        for row in await batch.rows("word"):
            batch.update(row, **{NAME: 1, "once": row["_id"] % 19})
"""


async def test_a_document_that_cannot_be_changed(ground: Ground) -> None:
    """It is found by halves and passed over with its key and the reason; all others are changed once."""
    ground.db["items"].create_index("once", unique=True, sparse=True)  # 0 and 19 would have the same
    ground.revision("skips", ROWS)
    assert await upgrade(ground.config()) == 0
    unchanged = [item["_id"] for item in ground.db["items"].find({"skips": {"$exists": False}})]
    (failed,) = ground.db["script_run_failures"].find()
    assert (unchanged, failed["key"], failed["name"]) == ([19], [19], "skips")
    assert "unique index once_1" in failed["error"]
    (loop,) = ground.rows()[-1]["progress"]["loops"]
    assert (loop["skipped"], loop["done"], loop["splits"] > 0) == (1, True, True)


@contextmanager
def writers(ground: Ground, name: str) -> Iterator[list[int]]:
    """Change another field of the documents all the time, as an application does; count how often."""
    ended, written = threading.Event(), [0]

    def write() -> None:
        while not ended.is_set():
            ground.db[name].update_one({"_id": written[0] * 37 % 2000}, {"$inc": {"other": 1}})
            written[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        ended.set()
        thread.join()


MANY = """
async for batch in ctx.batches("many"):
    async with batch:
        await ctx.db.many.update_many(batch.where, {"$inc": {"n": 1}})
"""


async def test_among_other_writers(ground: Ground) -> None:
    """An application that writes the same documents meanwhile loses nothing, and every one is changed once."""
    ground.db["many"].insert_many([{"_id": number} for number in range(2000)])
    ground.revision("many", MANY)
    with writers(ground, "many") as written:
        assert await upgrade(ground.config()) == 0
    assert ground.db["many"].count_documents({"n": 1}) == 2000
    (total,) = ground.db["many"].aggregate([{"$group": {"_id": None, "other": {"$sum": "$other"}}}])
    assert total["other"] == written[0] > 0


@both
async def test_the_checkpoint_is_in_the_batch(
    ground: Ground, wire: Proxy, monkeypatch: Patch, guarded: bool, impatient: Impatient
) -> None:
    """With the checkpoint saved apart from its batch, an end between the two makes the batch run twice."""
    moved = MongoLedger.moved

    @asynccontextmanager
    async def apart(
        self: MongoLedger, old: Checkpoint, new: Checkpoint, *, seconds: float = 0.0
    ) -> AsyncIterator[None]:
        yield
        async with moved(self, old, new):
            pass

    if not guarded:
        monkeypatch.setattr(MongoLedger, "moved", apart)
    ground.batched("batches")
    # The first commit is that of the pending row, the second that of the claim, the third that of the first batch.
    judged(guarded, await interrupted(ground, wire, nth("commitTransaction", 3, Do.CUT_BEFORE), impatient))


@both
async def test_the_cursor_is_kept(
    ground: Ground, wire: Proxy, monkeypatch: Patch, guarded: bool, impatient: Impatient
) -> None:
    """Where the next run begins from the beginning, what was done before is done again."""
    claim = MongoLedger.claim

    async def afresh(self: MongoLedger, checkpoint: Checkpoint, *, reopen: bool = False) -> Checkpoint:
        await self._checkpoints.delete_many({})
        return await claim(self, checkpoint, reopen=reopen)

    if not guarded:
        monkeypatch.setattr(MongoLedger, "claim", afresh)
    ground.batched("batches")
    judged(guarded, await interrupted(ground, wire, nth("commitTransaction", 4, Do.CUT_BEFORE), impatient))


@both
async def test_the_takeover_shuts_batches_out(ground: Ground, monkeypatch: Patch, guarded: bool) -> None:
    """Without the fence in its checkpoints, a holder who was overtaken between two batches commits the next one."""

    async def nobody(*_: Any) -> None:
        return

    if not guarded:
        monkeypatch.setattr(Changes, "shut_out", nobody)
    written(ground, "between")
    first = asyncio.create_task(upgrade(ground.config()))
    async with done(first):
        await asyncio.to_thread(until, (ground.folder / "gate.reached").exists, "the holder is between two batches")
        ground.expire()
        made = adapter("main", Url.parse(ground.url, "test"))
        async with made.session() as session:
            await session.lock.acquire(Owner("token", "pod-2", 1, "bob", ""))
            before = ground.db["items"].count_documents({"batches": 1})
            ground.open("gate")
            await asyncio.wait([first])
            after = ground.db["items"].count_documents({"batches": 1})
            await session.lock.release()
    judged(guarded, [] if after == before else [f"{before} items before, {after} after"])
    assert first.result() == 12
    assert await upgrade(ground.config()) == 0
    assert ground.db["items"].count_documents({"batches": 1}) == ITEMS
