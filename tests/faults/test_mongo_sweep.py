"""The connection cut at every single message of a whole deployment; the next `upgrade head` makes it right."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

from tests.faults.mongo_ground import LEAKS, Ground, upgrade
from tests.faults.mongo_wire import Work
from tests.faults.proxy import Do, Proxy

pytest_plugins = ["tests.faults.mongo_fixtures"]

POINT = os.environ.get("MIGRATOR_POINT", "")
"""`number:what:how,...`, to run these points again."""

pytestmark = [*LEAKS]
Impatient: TypeAlias = Callable[[float], AbstractContextManager[None]]

SAMPLE = 22
PATIENCE = (0.4, 5.0)
"""Seconds after which the program gives up; more where it did so on a busy machine before its fault was there."""

UNFIRED = "the fault fired"
CUTS = (Do.CUT_BEFORE, Do.CUT_REPLY)
ENDINGS = ("blip", "gone")
"""A blip: only this connection is cut, and the program may go on. Gone: it never reaches the server again."""


async def one_point(
    number: int, what: Do, how: str, proxy: Proxy, url: str, folder: Path, impatient: Impatient, patience: float
) -> tuple[list[str], int]:
    """Deploy with one cut, then deploy again; return what is wrong after it, and how the first ended."""
    # A step outside a transaction that its own limit ends is a person's to judge, so there is time enough for each.
    ground = Ground(url, folder, wait=f"{patience * 1000:g}ms", top='timeout = "30s"')
    ground.corpus()

    def gone() -> None:
        proxy.refuse = True

    plan = Work(number, what, gone if how == "gone" else None)
    proxy.reset(plan)
    try:
        with impatient(patience):
            first = await upgrade(ground.config(ground.through(proxy)))
        if how == "gone":
            proxy.sever()
        if number and len(proxy.fired) != 1:
            return [f"{UNFIRED} {len(proxy.fired)} times"], first
        wrong = [f"{row['revision']} is {row['status']}" for row in ground.rows() if row["status"] == "pending"]
        if first == 0 and wrong:
            return [f"ended with 0, but {wrong}"], first
        ground.expire()
        second = await upgrade(ground.config())
        found = ground.check()
        return ([f"the second ended with {second}: {ground.statuses()}", *found] if second or found else []), first
    finally:
        ground.close()


async def length(proxy: Proxy, url: str, folder: Path) -> list[str]:
    """Return the commands of a deployment without a fault."""
    ground = Ground(url, folder)
    ground.corpus()
    plan = Work(0, Do.PASS)
    proxy.reset(plan)
    assert await upgrade(ground.config(ground.through(proxy))) == 0
    assert ground.check() == []
    ground.close()
    return plan.names


async def test_sweep(
    mongo_url: str, wire: Proxy, tmp_path: Path, seed: int, everything: bool, impatient: Impatient
) -> None:
    """Cut before every message, and after the server has acted on it; once for a moment, and once for good."""
    names = await length(wire, mongo_url, tmp_path / "whole")
    points = [(n, what, how) for n in range(1, len(names) + 1) for what in CUTS for how in ENDINGS]
    if POINT:
        asked = [each.split(":") for each in POINT.split(",")]
        points = [(int(number), Do[what], how) for number, what, how in asked]
    elif not everything:
        points = sorted(random.Random(seed).sample(points, SAMPLE), key=lambda point: point[0])
    print(f"{len(points)} of {len(names) * 4} points; {len(names)} commands: {names}")
    wrong: list[str] = []
    ends = Counter[int]()
    for index, (number, what, how) in enumerate(points):
        began = time.monotonic()
        for patience in PATIENCE:
            folder = tmp_path / f"{index}-{patience}"
            found, code = await one_point(number, what, how, wire, mongo_url, folder, impatient, patience)
            if not found or not found[0].startswith(UNFIRED):
                break
        ends[code] += 1
        if os.environ.get("MIGRATOR_TIMES"):
            print(f"{number}:{what.name}:{how} {names[number - 1]} {code} {time.monotonic() - began:.2f}", flush=True)
        if found:
            place = f"MIGRATOR_POINT={number}:{what.name}:{how}"
            wrong.append(f"{place} ({names[number - 1]}, exit {code}): {found}")
            print(wrong[-1])
    print(f"{len(points)} points, first ended with {dict(ends)}")
    assert not wrong, "\n".join(wrong)
