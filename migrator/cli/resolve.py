"""Decide about a run that left something behind."""

from typing import TYPE_CHECKING, Any

import click

from migrator.cli._command import Console, declare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.core.outcome import Resolution

UNDECIDED_EXIT = 14


@declare(example='migrator resolve 01k9 --mark-success --reason "the index is there"')
@click.argument("run")
@click.option("--retry", "decision", flag_value="retry", help="The next upgrade runs it again, over what is there.")
@click.option("--mark-success", "decision", flag_value="mark-success", help="All of it is in the database.")
@click.option("--mark-rolled-back", "decision", flag_value="mark-rolled-back", help="Nothing of it is left.")
@click.option("--reason", default="", help="Why; the tracker keeps it.")
async def command(console: Console, *, run: str, decision: str | None, reason: str) -> int:
    """Decide about RUN, which failed or was interrupted outside a transaction. Without a decision it only shows it."""
    from migrator.core.outcome import Decision

    async with console.watch() as migrator:
        resolution = await migrator.resolve(run, Decision(decision) if decision else None, reason)
    console.print(_text(resolution))
    console.print_json(resolution.as_dict)
    return 0 if resolution.recorded else UNDECIDED_EXIT


def _reached(progress: "Mapping[str, Any]") -> str:
    """Say how far a run came: the statement is the last that was sent, and may or may not have taken effect."""
    if "statements" not in progress:
        return "nobody knows which statement"
    return f"statement {progress['statements']}" + (f" of {progress['of']}" if "of" in progress else "")


def _text(resolution: "Resolution") -> str:
    run = resolution.run
    lines = [
        f"run      {run.run_id}  {run.key}  {run.title}",
        f"did      {run.direction}, attempt {run.attempt}, {run.started_at} by {run.user}@{run.host}",
        f"ended    {run.status}, effect {run.effect} ({run.reason}): {run.error}",
        f"reached  {_reached(run.progress or {})}",
        f"verify   {resolution.verify}",
        f"file     {run.path}",
    ]
    logged = (run.result or {}).get("log", [])
    lines.extend(f"log      {line}" for line in logged)
    if not logged:
        lines.append("log      nothing was kept")
    if resolution.recorded:
        lines.append(f"recorded {resolution.recorded.reason}. Next: migrator upgrade {run.database}:head")
    else:
        lines.append('Decide with one of --retry, --mark-success, --mark-rolled-back, and --reason "...".')
    return "\n".join(lines)
