"""From values to text: tables for a terminal or for a pipe, plans, durations."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from migrator.core.run import Status

if TYPE_CHECKING:
    from migrator.core.outcome import Outcome
    from migrator.core.plan import Plan

_COLOURS = {
    "applied": "green",
    "ok": "green",
    "success": "green",
    "pending": "yellow",
    "running": "cyan",
    "warn": "yellow",
    "drifted": "red",
    "unknown": "magenta",
    "interrupted": "red",
    "blocked": "red",
    "fail": "red",
    "failed": "red",
}


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text: aligned columns; on a terminal with a rule under the headers, and colours for states."""
    everything = [list(headers), *[list(row) for row in rows]]
    widths = [max(len(row[index]) for row in everything) for index in range(len(headers))]
    terminal = sys.stdout.isatty()
    lines = [_line(headers, widths, bold=terminal)]
    if terminal:
        lines.append(click.style("  ".join("─" * width for width in widths), dim=True))
    lines.extend(_line(row, widths, bold=False) for row in rows)
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], *, bold: bool) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    if bold:
        return click.style("  ".join(padded).rstrip(), bold=True)
    return "  ".join(_coloured(cell, text) for cell, text in zip(cells, padded, strict=True)).rstrip()


def _coloured(word: str, text: str) -> str:
    return click.style(text, fg=_COLOURS[word]) if word in _COLOURS else text


def duration(milliseconds: float | None) -> str:
    """Return a duration for a person: 12 ms, 3.4 s, 2 min 5 s."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:  # noqa: PLR2004 - a second
        return f"{milliseconds:.0f} ms"
    whole = milliseconds / 1000
    if whole < 60:  # noqa: PLR2004 - a minute
        return f"{whole:.1f} s"
    return f"{int(whole // 60)} min {int(whole % 60)} s"


def plan(plan: "Plan") -> str:
    """Return a plan as a table."""
    rows = [
        (str(number), step.revision.database, step.revision.id, step.direction, step.revision.title)
        for number, step in enumerate(plan.steps, 1)
    ]
    return table(("#", "database", "revision", "direction", "title"), rows)


def summary(outcome: "Outcome", nothing: str) -> str:
    """Return the last lines of a command that changes something."""
    notes = [f"note: {note}" for note in outcome.notes]
    if outcome.dry_run:
        text = plan(outcome.plan) if len(outcome.plan) else nothing
        return "\n".join([text, *notes, "Dry run: nothing was changed."])
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
