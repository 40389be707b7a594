"""Durations and amounts in words: what the command line prints and the pages show."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migrator.core.pace import Estimate


def duration(milliseconds: float | None) -> str:
    """Return a duration for a person: 12 ms, 3.4 s, 2 min 5 s, 3 h 20 min."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:  # noqa: PLR2004 - a second
        return f"{milliseconds:.0f} ms"
    whole = milliseconds / 1000
    if whole < 60:  # noqa: PLR2004 - a minute
        return f"{whole:.1f} s"
    if whole < 3600:  # noqa: PLR2004 - an hour
        return f"{int(whole // 60)} min {int(whole % 60)} s"
    return f"{int(whole // 3600)} h {int(whole % 3600 // 60)} min"


def counted(number: int, noun: str) -> str:
    """Return a number of things: 1 run, 2 runs."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def amount(rows: int, expected: int) -> str:
    """Return how much of a long change is done; `expected` is an estimate, below 0 where there is none."""
    if expected < 0:
        return counted(rows, "row")
    if rows > expected:
        return f"{rows:,} processed (expected {expected:,})"
    return f"{rows:,} of about {expected:,} ({100 * rows // expected if expected else 100} %)"


def remaining(estimate: "Estimate") -> str:
    """Return when a long change will be done, "" where nobody can say."""
    if estimate.state != "ready":
        return estimate.state if estimate.state in ("measuring", "due", "paused") else ""
    text = f"{duration(estimate.seconds * 1000)} left"
    low, high = duration(estimate.low * 1000), duration(estimate.high * 1000)
    return text if low == high else f"{text} ({low} to {high})"


def loop_report(loop: Mapping[str, Any]) -> str:
    """Return what one loop of a long change did, from the `progress` of its run."""
    counts = [f"{counted(loop['rows'], 'row')} in {loop['batches']:,} batch{'es' * (loop['batches'] != 1)}"]
    for name, one, many in (("retries", "retry", "retries"), ("splits", "split", "splits")):
        counts += [f"{loop[name]:,} {one if loop[name] == 1 else many}"] * bool(loop[name])
    counts += [f"{loop['skipped']:,} skipped"] * bool(loop["skipped"])
    still = loop["throttled"]
    reasons = ", ".join(f"{reason} {duration(seconds * 1000)}" for reason, seconds in still.items())
    stood = f"; stood still for {duration(1000 * sum(still.values()))} ({reasons})" if still else ""
    return f"{loop['name']}: {', '.join(counts)}{stood}"
