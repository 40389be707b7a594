"""A holder that is stopped and overtaken writes nothing when it wakes up."""

import random
from collections.abc import Callable

import pytest

from tests.faults.mongo_ground import LEAKS, Ground, overtaken, paused, upgrade
from tests.faults.mongo_set import until
from tests.faults.mongo_wire import Work
from tests.faults.proxy import Do, Proxy

pytest_plugins = ["tests.faults.mongo_fixtures"]
pytestmark = [*LEAKS]

PLACES = {
    "the lock is held, nothing has begun": "lock",
    "in a transaction that wrote nothing": "before",
    "in a transaction that wrote": "after",
    "outside a transaction, before its write": "plain",
    "outside a transaction, after its write": "written",
}


def written(ground: Ground, place: str) -> None:
    """Write revisions with a gate at the place; the item's own revision is `t2`, or `again`."""
    ground.transactional("t1")
    gate = ground.gate("gate")
    if place == "lock":
        ground.transactional("t2")
        path = ground.project.revisions("main") / "t2.py"
        blocking = (gate.replace("await asyncio.sleep", "import time; time.sleep")).strip()
        path.write_text(path.read_text("utf-8") + f"\n{blocking}\n", "utf-8")
    elif place in ("before", "after"):
        ground.transactional("t2", **{place: gate})
    else:
        body = 'await ctx.db.items.update_many({NAME: {"$ne": 1}}, {"$inc": {NAME: 1}})'
        lines = [gate, body] if place == "plain" else [body, gate]
        ground.revision("again", "\n".join(lines), rerunnable=True)
    ground.transactional("t3")


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_overtaken(ground: Ground, place: str) -> None:
    """Stopped in any phase, overtaken by another `upgrade head`, resumed: it ends with 12 and nothing of it lands."""
    written(ground, place)
    holder = ground.project.start("upgrade", "head")
    ground.reached("gate", holder)
    with paused(holder):
        ground.expire()
        ground.open("gate")
        ground.project.good("upgrade", "head")
        before = ground.rows()
        assert ground.check() == []
    result = holder.wait(30)
    assert result.exit_code == 12, result
    assert ground.rows() == before
    assert ground.check() == []


def test_overtaken_in_real_time(ground: Ground) -> None:
    """The same with nobody's help: the lease runs out by the server's clock while the holder is stopped."""
    written(ground, "after")
    holder = ground.project.start("upgrade", "head")
    ground.reached("gate", holder)
    with paused(holder):
        ground.open("gate")
        assert ground.project.run("upgrade", "head", "--lock-timeout", "0s").exit_code == 12
        until(lambda: not ground.held(), "the lease runs out")
        ground.project.good("upgrade", "head")
        before = ground.rows()
    assert holder.wait(30).exit_code == 12
    assert ground.rows() == before
    assert ground.check() == []


LATE = 8
"""How many messages each commit; with MIGRATOR_FAULTS=all every one."""


async def test_late_messages(
    mongo_url: str, ground_at: Callable[..., Ground], wire: Proxy, seed: int, everything: bool
) -> None:
    """Any message of a holder that arrives only after somebody else took over changes neither tracker nor effects."""
    whole = ground_at(mongo_url, folder="whole")
    whole.corpus()
    plan = Work(0, Do.PASS)
    wire.reset(plan)
    assert await upgrade(whole.config(whole.through(wire))) == 0
    first_step = plan.names.index("commitTransaction") - 1
    numbers = list(range(first_step, len(plan.names)))
    if not everything:
        numbers = sorted(random.Random(seed).sample(numbers, LATE))
    wrong = []
    for number in numbers:
        ground = ground_at(mongo_url, folder=f"late{number}")
        ground.corpus()
        code, second, rows = await overtaken(ground, wire, Work(number, Do.HOLD))
        found = ground.check()
        if code != 12 or second != 0 or ground.rows() != rows or found:
            wrong.append(f"{number} {plan.names[number - 1]}: ended with {code} and {second}, {found}")
    print(f"{len(numbers)} messages held: {numbers}")
    assert not wrong, "\n".join(wrong)
