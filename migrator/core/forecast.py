"""How long a long change will take: told from one batch of it that was run and rolled back."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from migrator.core.batch import Page, Settings, Tools
from migrator.core.plan import Step

SPREAD = (0.5, 2.0)
"""Between which parts of the time that one batch tells all may take: the first rows are not like all the others."""

MANY = 10
"""A batch that reads a table of this many times its own rows from end to end lacks an index."""


@dataclass
class Sample:
    """What a batch costs, filled by the adapter while it runs, in a transaction that is rolled back.

    `log` is the database's word for what its other members follow; `volume` is the bytes that the batch adds to it.
    Where it is overwritten, `room` is the bytes that it holds, and `window` the seconds in which it is filled without
    this change. Each is 0 or below where it is unknown. `plan` says in the server's own
    words how the rows are found, and `whole` names the tables that are read from end to end for it.
    """

    log: str
    seconds: float = 0.0
    volume: int = -1
    room: int = 0
    window: float = 0.0
    plan: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


class Sampling(Protocol):
    """The context of a step of which one batch is tried. Outside of `tried` nothing that the script does is kept."""

    tools: Tools | None
    sample: Sample

    def tried(self, page: Page, seconds: float) -> AbstractAsyncContextManager[None]:
        """Open a short transaction for a batch of these rows, and note in `sample` what it costs. It is rolled back in
        every case.

        `seconds` is the server's limit for each statement. A lock that is not free within a second is an error.
        """


@dataclass(frozen=True)
class Tried:
    """The batch that was run: its loop and table, its rows, and the rows that are left, below 0 where nobody knows.

    `seconds` is what finding its rows took, beside the batch itself; `workers` is how many are at work side by side.
    """

    loop: str
    source: str
    settings: Settings
    left: int = -1
    size: int = 0
    seconds: float = 0.0
    workers: int = 1


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is expected of one loop of a step. `missing` says why nothing is, "" where something is.

    `rows` are those that are left; the seconds are a range around what the sampled batch tells, `volume` is in bytes of
    the `log`. Each is below 0 where it is unknown.
    """

    database: str
    revision: str
    title: str
    loop: str
    missing: str = ""
    rows: int = -1
    sampled: int = 0
    rows_per_second: float = 0.0
    seconds: float = -1.0
    low: float = -1.0
    high: float = -1.0
    log: str = ""
    volume: int = -1
    plan: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return dict(vars(self))


def missing(step: Step, loop: str, why: str) -> Forecast:
    """Return the forecast of a loop of which nothing can be said."""
    return Forecast(**_names(step), loop=loop, missing=why)


def forecast(step: Step, tried: Tried, sample: Sample) -> Forecast:
    """Return what one batch says about all of them."""
    limit = tried.settings.max_rows_per_second
    speed = tried.size / max(tried.seconds + sample.seconds, 1e-6)
    speed = min(speed, limit) if limit else speed
    known = tried.left >= 0 and tried.size > 0
    seconds = tried.left / speed if known else 0.0 if not tried.size else -1.0
    low, high = (seconds * part if seconds > 0 else seconds for part in SPREAD)
    low /= tried.workers if low > 0 and not limit else 1  # nobody knows how much they are in each other's way
    volume = round(sample.volume / tried.size * tried.left) if known and sample.volume >= 0 else -1
    return Forecast(
        **_names(step),
        loop=tried.loop,
        rows=tried.left,
        sampled=tried.size,
        rows_per_second=round(speed, 1),
        seconds=round(seconds, 3),
        low=round(low, 3),
        high=round(high, 3),
        log=sample.log,
        volume=volume,
        plan=sample.plan,
        warnings=tuple(_warnings(tried, sample, high, volume)),
    )


def _names(step: Step) -> dict[str, Any]:
    return {"database": step.revision.database, "revision": step.revision.id, "title": step.revision.title}


def _warnings(tried: Tried, sample: Sample, high: float, volume: int) -> list[str]:
    found: list[str] = []
    if not tried.size:
        return found
    table = tried.source.rpartition(".")[2].strip('"')
    if table in sample.whole and tried.left > MANY * tried.size:
        found.append(
            f"each batch reads the whole of {tried.source}: let the statement use batch.where, or make an index first"
        )
    if sample.volume == 0:
        found.append("the sampled batch changed nothing; if its rows are done already, the others take longer")
    window = _window(sample, volume, high)
    if window < high:
        found.append(
            f"the {sample.log} will be overwritten within {window / 3600:.1f} h, before this is done: a member that is "
            "away for longer cannot catch up"
        )
    if tried.left < 0:
        found.append(f"nobody knows how many rows {tried.source} has: let the server count them first (ANALYZE)")
    return found


def _window(sample: Sample, volume: int, seconds: float) -> float:
    """Return how long the log goes back while this change adds to it, too."""
    if sample.window <= 0 or seconds <= 0:
        return inf
    return sample.room / (sample.room / sample.window + max(0, volume) / seconds)
