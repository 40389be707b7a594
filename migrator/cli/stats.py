"""Show how the runs ended, how long they took, and why they failed."""

from typing import TYPE_CHECKING, Any

from migrator.cli._command import Console, declare
from migrator.cli._options import since, until

if TYPE_CHECKING:
    from migrator.core.stats import Statistics, Sum

SHOWN = 20
"""How many scripts are shown to a person; `--json` has all."""


@declare(example="migrator stats --since 30d")
@since
@until
async def command(console: Console, *, since: str, until: str) -> None:
    """Count the runs that the trackers still have: all together, by month, by script, and failures by class of error.

    Times are those of runs that did their work. `migrator cleanup` takes old runs out of it.
    """
    from migrator.core.runs import RunFilter

    async with console.open() as migrator:
        found = await migrator.past.stats(RunFilter(since=since, until=until), console.databases)
    console.print(_text(found))
    console.print_json(found.as_dict)


def _text(found: "Statistics") -> str:
    from migrator.cli._table import table

    counts = ("runs", "success", "failed", "rolled back", "running", "interrupted", "average", "p50", "p95")
    months = [("all", *_cells(found.all)), *((month, *_cells(each)) for month, each in found.months.items())]
    parts = [table(("month", *counts), months)]
    slowest = sorted(found.scripts.items(), key=lambda each: -(each[1].p95_ms or 0))
    if slowest:
        rows = [(key, *_cells(each), found.titles[key]) for key, each in slowest[:SHOWN]]
        parts.append(table(("script", *counts, "title"), rows))
        if len(slowest) > SHOWN:
            parts.append(f"and {len(slowest) - SHOWN} scripts that are quicker; --json has all of them")
    if found.failures:
        parts.append(table(("failures", "runs"), [(name, str(count)) for name, count in found.failures.items()]))
    return "\n\n".join(parts)


def _cells(of: "Sum") -> tuple[Any, ...]:
    from migrator.core.wording import duration

    counts = (of.total, of.success, of.failed, of.rolled_back, of.running, of.interrupted)
    return (*map(str, counts), *(duration(each) for each in (of.average_ms, of.p50_ms, of.p95_ms)))
