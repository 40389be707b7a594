"""The checker is checked: with a guard switched off, a scenario that is fine with it goes wrong, and is seen."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest

from migrator.adapters.mongo import _lock
from migrator.adapters.mongo._tracker import MongoTracker
from migrator.adapters.mongo._work import Work as ServerWork
from migrator.core.run import Effect, Run, Status
from migrator.runtime import settle
from tests.faults.mongo_ground import COUNTED, LEAKS, Ground, overtaken, upgrade
from tests.faults.mongo_wire import command, nth
from tests.faults.proxy import Do, Message, Plan, Proxy

pytest_plugins = ["tests.faults.mongo_fixtures"]

pytestmark = [*LEAKS]
Impatient: TypeAlias = Callable[..., AbstractContextManager[None]]

Patch = pytest.MonkeyPatch
ADDED = 'await ctx.db.items.update_many({}, {"$inc": {NAME: 1}})'
both = pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])


def judged(guarded: bool, found: list[str]) -> None:
    """With the guard nothing is wrong; without it something must be, or the suite is blind."""
    print(f"{'with' if guarded else 'without'} the guard: {found}")
    assert (found == []) is guarded, found


async def interrupted(ground: Ground, proxy: Proxy, plan: Plan, impatient: Impatient) -> list[str]:
    """Deploy with a fault and the server out of reach after it, deploy again, and return what is wrong."""

    def gone(message: Any) -> Do:
        what = plan(message)
        proxy.refuse = proxy.refuse or what is not Do.PASS
        return what

    ground.wait = "1.2s"
    proxy.reset(gone)
    with impatient(1.2):  # on a busy machine less would end it before the fault
        first = asyncio.create_task(upgrade(ground.config(ground.through(proxy))))
        await asyncio.to_thread(proxy.wait_fired)
        proxy.sever()
        first.cancel()
        await asyncio.wait([first])
    ground.expire()
    code = await upgrade(ground.config())
    return ground.check() + ([f"ended with {code}"] if code else [])


@both
async def test_the_fence(ground: Ground, wire: Proxy, monkeypatch: Patch, guarded: bool) -> None:
    """Without the fence in its transaction, an overtaken holder writes a row with an old number after newer ones."""

    async def unfenced(self: MongoTracker, run: Run, session: Any) -> int:
        every = {"_id": "fence"}
        found = await self._lock.find_one_and_update(every, {"$inc": {"seq": 1}}, session=session)
        assert found is not None
        return int(found["seq"]) + 1

    if not guarded:
        monkeypatch.setattr(MongoTracker, "check", unfenced)
    ground.transactional("t1")
    await overtaken(ground, wire, nth("findAndModify", 3, Do.HOLD))
    judged(guarded, ground.check())


@both
async def test_one_transaction(
    ground: Ground, wire: Proxy, monkeypatch: Patch, guarded: bool, impatient: Impatient
) -> None:
    """With the row of success in a transaction of its own, an end between the two makes the step run twice."""
    late: list[tuple[MongoTracker, Run, Run | None]] = []
    finish, commit = MongoTracker.finish, ServerWork.commit

    async def later(self: MongoTracker, run: Run, following: Run | None = None) -> None:
        if not self._work.session.in_transaction:
            return await finish(self, run, following)
        late.append((self, run, following))
        return None

    async def and_then(self: ServerWork, what: str) -> None:
        await commit(self, what)
        while late:
            await finish(*late.pop())

    if not guarded:
        monkeypatch.setattr(MongoTracker, "finish", later)
        monkeypatch.setattr(ServerWork, "commit", and_then)
    ground.transactional("t1")
    # The first commit is that of the pending row, the second that of the step. Its answer is lost, or, where there
    # is a third, that one never comes.
    plan = nth("commitTransaction", 2, Do.CUT_REPLY) if guarded else nth("commitTransaction", 3, Do.CUT_BEFORE)
    judged(guarded, await interrupted(ground, wire, plan, impatient))


@both
async def test_no_success_is_assumed(
    ground: Ground, wire: Proxy, monkeypatch: Patch, guarded: bool, impatient: Impatient
) -> None:
    """Taking an interrupted step for done leaves a success without its effect."""

    async def assumed(run: Run, *_: Any) -> Run:
        return run.moved(Status.SUCCESS, Effect.FULL, reason="recovered")

    if not guarded:
        monkeypatch.setattr(settle, "_judged", assumed)
    ground.transactional("t1")
    judged(guarded, await interrupted(ground, wire, nth("commitTransaction", 2, Do.CUT_BEFORE), impatient))


@both
async def test_the_lock(ground: Ground, monkeypatch: Patch, guarded: bool) -> None:
    """Without the lock two work side by side, and what is not in a transaction happens twice."""
    if not guarded:
        monkeypatch.setattr(_lock, "FREE", {})
    ground.revision("counted", ground.gate("gate") + ADDED, COUNTED)
    first = asyncio.create_task(upgrade(ground.config()))
    async with done(first):
        reached = ground.folder / "gate.reached"
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(reached.exists):
                await asyncio.sleep(0.02)
        second = await upgrade(ground.config(lock_timeout="0s"))
        assert second == (12 if guarded else 0)
        ground.open("gate")
    judged(guarded, ground.check())


@both
async def test_the_predecessor_is_ended(ground: Ground, monkeypatch: Patch, guarded: bool) -> None:
    """Where a dead holder's update is not ended on the server, it happens again behind the back of its successor."""

    async def nobody(*_: Any) -> bool:
        return True

    if not guarded:
        monkeypatch.setattr(_lock, "kill_commands", nobody)
        monkeypatch.setattr(_lock, "kill_session", nobody)
    await orphaned(ground)
    assert await upgrade(ground.config()) == 0
    await until(lambda: not ground.updating())
    judged(guarded, ground.check())


async def test_a_successor_that_dies_in_the_takeover(ground: Ground, wire: Proxy, impatient: Impatient) -> None:
    """Whoever dies while it ends its predecessor's work leaves that to the next one, who ends the work of both."""
    await orphaned(ground)

    def gone(message: Message) -> Do:
        if command(message) != "killSessions" or wire.refuse:
            return Do.PASS
        wire.refuse = True
        return Do.CUT_BEFORE

    wire.reset(gone)
    ground.wait = "0.3s"
    with impatient():
        assert await upgrade(ground.config(ground.through(wire))) != 0
    assert len(wire.fired) == 1
    assert ground.updating(), "the update ended by itself, so this test shows nothing"
    ground.expire()
    assert await upgrade(ground.config()) == 0
    await until(lambda: not ground.updating())
    assert ground.check() == []


async def orphaned(ground: Ground) -> None:
    """Leave a long update of a dead holder on the server; the next one is quick."""
    quick = str(ground.folder / "quick")
    slow = f"""
slow = {{}} if Path({quick!r}).exists() else {{"$where": "sleep(this._id ? 50 : 5000) || true"}}
await ctx.db.items.update_many(slow, {{"$inc": {{NAME: 1}}}})
"""
    verify = 'return Effect.FULL if await ctx.db.items.count_documents({NAME: {"$gte": 1}}) == 20 else Effect.NONE'
    ground.revision("counted", slow, verify)
    child = ground.project.start("upgrade", "head")
    await until(lambda: bool(ground.updating()) or not child.runs())
    child.close()
    (ground.folder / "quick").touch()
    ground.expire()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is true, and let the loop go on."""
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def done(task: "asyncio.Task[int]") -> AsyncIterator[None]:
    """Wait for a task at the end of a block; where the block fails, end it."""
    try:
        yield
    except BaseException:
        task.cancel()
        raise
    finally:
        await asyncio.wait([task])
