"""A server that is too slow for the tracker's own write, after the step has done its work and its verify agreed."""

import asyncio
from collections.abc import Callable

import pytest

from tests.faults.mongo_ground import INDEX, INDEX_IS, LEAKS, Ground, upgrade
from tests.faults.mongo_set import Member, until

pytest_plugins = ["tests.faults.mongo_fixtures"]
pytestmark = [*LEAKS]

MAX_TIME_EXPIRED = 50


@pytest.mark.parametrize(
    ("command", "batched", "ended"),
    [
        ("findAndModify", False, (0, "success")),  # looked up under the lock, judged by its verify, and recorded
        ("update", False, (0, "success")),
        ("findAndModify", True, (4, "failed")),  # without a verify: the next run continues at the checkpoint
        ("update", True, (14, "pending")),  # the server refuses the lock as well, so nothing can be looked up
    ],
)
async def test_the_end_of_a_run_cannot_be_written(
    single: Member, ground_at: Callable[..., Ground], command: str, batched: bool, ended: tuple[int, str]
) -> None:
    """What the tracker has is looked up under the lock; whatever it has, the next run needs no person."""
    ground = ground_at(f"mongodb://{single.host}/?directConnection=true")
    if batched:
        ground.batched("batches", between="if batch.last == 19:\n" + _deep(ground.gate("gate")))
    else:
        verify = ground.gate("gate") + INDEX_IS.replace("{NAME}", "index")
        ground.revision("index", INDEX.replace("{NAME}", "index"), verify)
    first = asyncio.create_task(upgrade(ground.config()))
    await asyncio.to_thread(until, (ground.folder / "gate.reached").exists, "the step is nearly done")
    # Behind the last batch there is one more move of the checkpoint, which is an update, too.
    mode = {"skip": 1} if batched and command == "update" else {"times": 1}
    data = {"failCommands": [command], "errorCode": MAX_TIME_EXPIRED}
    point = ground.client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})
    ground.open("gate")
    code = await first
    after = ground.client.admin.command("configureFailPoint", "failCommand", mode="off")
    assert after["count"] > point["count"]
    assert (code, ground.statuses()[-1][1]) == ended
    ground.expire()
    assert await upgrade(ground.config()) == 0
    assert ground.check() == []


def _deep(lines: str) -> str:
    return "\n".join(f"    {line}" for line in lines.strip().splitlines())
