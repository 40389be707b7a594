"""Where lines and boxes go in what the pages draw. Pure: numbers in, numbers out; the templates make SVG of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil, log10
from typing import NamedTuple

LANE = 18
"""Pixels between two lanes of the graph."""


class Rail(NamedTuple):
    """A line in one half of a row of the graph, from lane to lane; `ahead` where it leads to what is not applied."""

    start: int
    end: int
    ahead: bool


@dataclass(frozen=True)
class Row:
    """One revision in the graph: its lane, and the lines that come to it from above and leave below."""

    lane: int
    above: tuple[Rail, ...]
    below: tuple[Rail, ...]

    @property
    def lanes(self) -> int:
        """Return how many lanes there are in this row."""
        return 1 + max((max(rail.start, rail.end) for rail in (*self.above, *self.below)), default=self.lane)


def graph(order: Sequence[str], parents: Mapping[str, Sequence[str]], applied: Iterable[str] = ()) -> list[Row]:
    """Lay a history out in lanes, for `order`, newest first: every revision comes before its parents.

    A lane leads from a revision down to its first parent, where lanes that lead to the same one join; the other parents
    get lanes of their own. A line is `ahead` where its upper end is not among the `applied`.
    """
    lanes: list[tuple[str, bool] | None] = []
    done, rows = set(applied), list[Row]()
    for key in order:
        mine = [index for index, each in enumerate(lanes) if each is not None and each[0] == key]
        lane = mine[0] if mine else _free(lanes)
        above = [
            Rail(index, lane if each[0] == key else index, each[1])
            for index, each in enumerate(lanes)
            if each is not None
        ]
        for index in mine:
            lanes[index] = None
        passing = [Rail(index, index, each[1]) for index, each in enumerate(lanes) if each is not None]
        below = list[Rail]()
        for number, parent in enumerate(parents[key]):
            ahead = key not in done
            there = next((index for index, each in enumerate(lanes) if each is not None and each[0] == parent), -1)
            if number == 0 or there < 0:
                there = lane if number == 0 else _free(lanes)
                lanes[there] = (parent, ahead)
            below.append(Rail(lane, there, ahead))
        rows.append(Row(lane, tuple(above), (*passing, *below)))
    return rows


def _free(lanes: list[tuple[str, bool] | None]) -> int:
    """Return the first lane that leads nowhere, made where there is none."""
    if None not in lanes:
        lanes.append(None)
    return lanes.index(None)


class Day(NamedTuple):
    """One column of the strip of days: from the foot up what went well, and on top of it what failed."""

    day: date
    done: int
    failed: int
    x: float
    width: float
    done_height: float
    failed_height: float


def strip(days: Mapping[date, tuple[int, int]], width: float, height: float) -> tuple[list[Day], int]:
    """Return the columns of the days, and the number that the whole height stands for."""
    most = rounded(max((done + failed for done, failed in days.values()), default=0))
    step = width / max(len(days), 1)
    return [
        Day(day, done, failed, index * step + step * 0.12, step * 0.76, height * done / most, height * failed / most)
        for index, (day, (done, failed)) in enumerate(days.items())
    ], most


def rounded(number: float) -> int:
    """Return the next number up that reads well on an axis: 1, 2, 4, 5, 10, 20, 40, 50 and so on."""
    if number <= 1:
        return 1
    size: int = 10 ** int(log10(number))
    return next(step * size for step in (1, 2, 4, 5, 10) if step * size >= ceil(number))
