"""What the commands for long changes share: their options, and how a long change reads."""

from typing import TYPE_CHECKING

import click

from migrator.core.change import rate
from migrator.core.wording import amount, counted, duration, remaining

if TYPE_CHECKING:
    from migrator.core.batch import Checkpoint
    from migrator.core.change import Change

run = click.argument("run", default="")
reason = click.option("--reason", default="", help="Why; kept with the change, and shown wherever it is.")


def changed(change: "Change") -> str:
    """Return the settings that people changed, as they are typed."""
    return " ".join(f"{name}={value:g}" for name, value in change.control.settings.items())


def lines(change: "Change") -> list[str]:
    """Return how a long change stands: a line for each loop, why it stands still, what people asked of it."""
    found = [_loop(change, each) for each in change.loops]
    if change.waiting:
        found.append(f"stands still, {change.waiting}")
    elif change.standing == "paused":
        found.append(change.control.pause)
    if change.control.cancelled:
        found.append(f"cancelled by {change.control.by} at {change.control.at}: {change.control.reason}")
    settings = changed(change)
    return [*found, *([f"settings changed while it runs: {settings}"] if settings else [])]


def _loop(change: "Change", loop: "Checkpoint") -> str:
    parts = [f"{counted(loop.rows, 'row')}, done" if loop.done else amount(loop.rows, loop.total)]
    if change.at_work and not loop.done:
        parts += [f"{rate(loop):,.0f} rows/s"] * bool(loop.rate)
        parts += [remaining(change.estimate(loop))] * (change.standing == "running")
        parts += [f"{loop.size:,} a batch"] * bool(loop.size)
    parts += [f"{loop.skipped:,} skipped"] * bool(loop.skipped)
    still = sum(loop.throttled.values())
    parts += [f"stood still for {duration(1000 * still)}"] * bool(still)
    return f"{loop.name}: {', '.join(part for part in parts if part)}"
