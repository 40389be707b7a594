"""A revision that requires a backfill stands on the revision that has its loop."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from migrator.core.errors import CycleFound, ParentMissing
from migrator.core.history import History
from migrator.core.plan import Plan, Step
from migrator.core.revision import Direction, Revision
from tests.core.build import key, revision


def made(name: str, down: str = "", *, loops: Sequence[str] = (), requires: Sequence[str] = ()) -> Revision:
    """Make a revision with some loops, which requires some of others."""
    one = revision(name, down)
    walks = "".join(f"    async for b in ctx.batches('t', name={loop!r}): ...\n" for loop in loops) or "    pass\n"
    header = replace(one.header, requires_backfill=tuple(requires))
    return replace(one, header=header, source=f"async def upgrade(ctx):\n{walks}")


def test_a_loop_of_another_branch() -> None:
    """The revision with the loop becomes a parent: it goes up before, and it does not go down alone."""
    root, other = made("a1"), made("b1", "a1", loops=["totals", "names"])
    history = History([root, made("c1", "a1", requires=["names"]), other])
    assert history.backfills(key("c1")) == (key("b1"),)
    assert history.parents(key("c1")) == (key("a1"), key("b1"))
    assert history.order == (key("a1"), key("b1"), key("c1"))
    assert key("c1") in history.children(key("b1"))
    assert key("c1") not in history.line_children(key("b1"))


def test_a_loop_of_another_database() -> None:
    """It is named with its database; without, a loop of the own database is meant."""
    there, here = made("events:e1", loops=["names"]), made("a1", loops=["names"])
    history = History([there, here, made("c1", "a1", requires=["events:names"]), made("c2", "c1", requires=["names"])])
    assert history.backfills(key("c1")) == (key("events:e1"),)
    assert history.backfills(key("c2")) == (key("a1"),)


def test_what_comes_later_is_not_meant() -> None:
    """A revision may have a loop of that name itself, and so may one behind it; every earlier one counts."""
    line = [made("a1", loops=["t"]), made("a2", "a1", loops=["t"]), made("a3", "a2", loops=["t"], requires=["t"])]
    history = History([*line, made("a4", "a3", loops=["t"])])
    assert history.backfills(key("a3")) == (key("a1"), key("a2"))
    assert history.backfills(key("a4")) == ()


def test_nobody_has_it() -> None:
    """A name that no earlier loop has is refused with the name that was probably meant."""
    with pytest.raises(ParentMissing) as caught:
        History([made("a1", loops=["orders.total"]), made("a2", "a1", requires=["order.totals"])])
    assert "revisions/app/a2.py" in caught.value.message
    assert caught.value.hint == "Did you mean orders.total?"
    with pytest.raises(ParentMissing, match="no loop before it") as caught:
        History([made("a1", requires=["late"]), made("a2", "a1", loops=["late"])])
    assert "ctx.batches" in caught.value.hint


def test_two_that_wait_for_each_other() -> None:
    """Two branches, each of which requires the loop of the other, form no history."""
    one = made("b1", "a1", loops=["x"], requires=["y"])
    with pytest.raises(CycleFound):
        History([made("a1"), one, made("c1", "a1", loops=["y"], requires=["x"])])


def test_the_time_that_is_left_to_it() -> None:
    """The step that has the least time itself leaves the least; one without a limit leaves any time."""
    fill = Step(made("b1", loops=["x"]), Direction.UPGRADE)

    def waiting(name: str, timeout: float | None) -> Step:
        one = made(name)
        return Step(replace(one, header=replace(one.header, timeout=timeout)), Direction.UPGRADE, requires=(fill.key,))

    steps = [waiting("c1", None), waiting("c2", 60.0), waiting("c3", 0.0)]
    assert fill.limit(300) == 0
    assert Plan((fill, *steps)).hurried(fill, 300) is steps[1]
    assert Plan((fill, steps[0], steps[2])).hurried(fill, 300) is steps[0]
    assert Plan((fill, steps[2])).hurried(fill, 300) is None
    assert Plan((fill, *steps)).hurried(steps[0], 300) is None
