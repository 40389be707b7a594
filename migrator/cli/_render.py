"""From values to text: tables for a terminal or for a pipe, plans, durations."""

import json
from typing import TYPE_CHECKING

import click

from migrator.cli._table import table
from migrator.core.run import Status
from migrator.core.wording import duration

if TYPE_CHECKING:
    from migrator.core.forecast import Forecast
    from migrator.core.outcome import Outcome, ScriptResult, ScriptsOutcome
    from migrator.core.plan import Plan


def plan(plan: "Plan") -> str:
    """Return a plan as a table."""
    rows = [
        (str(number), step.revision.database, step.revision.id, step.direction, step.revision.title)
        for number, step in enumerate(plan.steps, 1)
    ]
    return table(("#", "database", "revision", "direction", "title"), rows)


def _told(each: "ScriptResult") -> str:
    """Return what is to say of a script: why it did not run or failed, or what it returned."""
    if each.word != "ok" or each.run is None or not each.run.result:
        return each.message
    return json.dumps(each.run.result, ensure_ascii=False)


def scripts(outcome: "ScriptsOutcome") -> str:
    """Return the results of scripts as a table."""
    rows = [
        (each.word, str(each.key), each.title, duration(each.run.duration_ms) if each.run else "", _told(each))
        for each in outcome.results
    ]
    text = table(("result", "script", "title", "time", ""), rows)
    hints = [f"next: {each.error.hint}" for each in outcome.results if each.error and each.error.hint]
    return "\n".join([text, *dict.fromkeys(hints), *(["Dry run: nothing was changed."] * outcome.dry_run)])


def forecast(told: "Forecast") -> str:
    """Return what is expected of a loop, in some lines."""
    head = f"\nForecast of {told.database}:{told.revision} {told.loop}".rstrip()
    if told.missing:
        return f"{head}: none, because {told.missing}"
    if not told.rows:
        return f"{head}: nothing is left to do"
    rows = f"about {told.rows:,} rows" if told.rows > 0 else "nobody knows how many rows"
    lines = [f"{head} (from one batch of {told.sampled:,} rows, rolled back):"]
    lines.append(f"  {rows} at {told.rows_per_second:,.0f} a second")
    if told.seconds >= 0:
        low, middle, high = (duration(1000 * each) for each in (told.low, told.seconds, told.high))
        lines[-1] += f": about {middle} ({low} to {high})"
    if told.volume >= 0:
        lines.append(f"  about {volume(told.volume)} of {told.log}")
    lines += [f"  {line}" for line in told.plan]
    lines += [f"  {click.style('warning', fg='yellow')}: {text}" for text in told.warnings]
    return "\n".join(lines)


def volume(count: int) -> str:
    """Return a number of bytes for a person: 12 kB, 3.4 MB."""
    size, unit = float(count), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":  # noqa: PLR2004 - the next unit
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"  # noqa: PLR2004 - three digits


def summary(outcome: "Outcome", nothing: str) -> str:
    """Return the last lines of a command that changes something."""
    notes = [f"note: {note}" for note in outcome.notes]
    if outcome.dry_run:
        text = plan(outcome.plan) if len(outcome.plan) else nothing
        return "\n".join([text, *map(forecast, outcome.forecasts), *notes, "Dry run: nothing was changed."])
    if not outcome.runs:
        return "\n".join([nothing, *notes])
    spent = sum(run.duration_ms or 0 for run in outcome.runs)
    done = [run for run in outcome.runs if run.status is Status.SUCCESS]
    databases = ", ".join(dict.fromkeys(run.database for run in outcome.runs))
    verb = {"upgrade": "applied", "downgrade": "taken down"}
    counts = ", ".join(
        f"{sum(run.direction == way for run in done)} {verb[way]}"
        for way in dict.fromkeys(run.direction for run in done)
    )
    return "\n".join([*notes, f"{counts} in {duration(spent)} ({databases})."])
