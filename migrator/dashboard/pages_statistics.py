"""How runs ended, how long they took, why they failed, and what is stored of them."""

import asyncio
from datetime import timedelta
from math import log1p
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse

from migrator.core.runs import RunFilter, moment
from migrator.core.stats import Statistics, Sum
from migrator.dashboard._drawn import strip
from migrator.dashboard._page import Shown
from migrator.dashboard._standing import answering

router = APIRouter(include_in_schema=False)

SLOWEST = 20
"""How many scripts are shown, the slowest first."""

SPANS = {"7d": 7, "30d": 30, "90d": 90, "3650d": 60}
"""How far back may be asked for, and how many days are drawn then."""

COUNTED = 15.0
WIDTH, HEIGHT = 900, 130

Text = Annotated[str, Query(max_length=100)]


@router.get("/statistics")
async def statistics(page: Shown, since: Text = "30d", database: Text = "") -> HTMLResponse:
    """Show the statistics of the runs that the trackers still have."""
    since = since if since in SPANS else "30d"
    names = await answering(page.asking, page.scope(database))
    wanted = RunFilter(since=moment(since, page.now.replace(minute=0, second=0, microsecond=0)))
    past, count = page.asking.questions.past, SPANS[since]
    first = (page.now - timedelta(days=count - 1)).date()
    found = await page.asking.shared(("statistics", since, names), lambda: past.stats(wanted, names), COUNTED)
    counted = await page.asking.shared(
        ("days", names, first), lambda: past.days(f"{first}T00:00:00+00:00", names), COUNTED
    )
    days, most = strip(counted.since(first, count), WIDTH, HEIGHT)
    files, taken = await asyncio.to_thread(past.storage)
    return page.show(
        "statistics.html",
        found=found,
        rate=_rate(found.all),
        slowest=_slowest(found),
        days=days,
        most=most,
        width=WIDTH,
        height=HEIGHT,
        since=since,
        database=database,
        spans=list(SPANS),
        files=files,
        taken=taken,
    )


def _rate(of: Sum) -> float | None:
    """Return the share of runs that went well among those that ended."""
    ended = of.success + of.rolled_back + of.failed
    return (of.success + of.rolled_back) / ended if ended else None


def _slowest(found: Statistics) -> list[tuple[str, Sum, str, float | None, float, float]]:
    """Return the scripts that take longest: title, how often they went well, and how long the bars of both times are,
    in percent and on a logarithmic scale: one takes milliseconds, another hours.
    """
    ordered = sorted(found.scripts.items(), key=lambda each: -(each[1].p95_ms or 0))[:SLOWEST]
    most = log1p(ordered[0][1].p95_ms or 1.0) if ordered else 1.0
    return [
        (key, of, found.titles[key], _rate(of), 100 * log1p(of.p50_ms or 0) / most, 100 * log1p(of.p95_ms or 0) / most)
        for key, of in ordered
    ]
