"""Let a long change go on that was paused or cancelled."""

from migrator.cli._changes import reason, run
from migrator.cli._command import Console, declare
from migrator.core.wording import amount


@declare(example="migrator resume")
@run
@reason
async def command(console: Console, *, run: str, reason: str) -> None:
    """Let the long change go on that was paused or cancelled, or that of RUN.

    Where somebody is at work at it, it goes on at once; where it was cancelled or stopped, with the next upgrade.
    """
    async with console.open() as migrator:
        change = await migrator.controls.resume(run, reason.strip(), console.databases)
    if change.at_work:
        when = "it goes on within a second"
    else:
        done = ", ".join(f"{each.name} at {amount(each.rows, each.total)}" for each in change.loops)
        target = f"{change.run.database}:{'head' if change.run.direction == 'upgrade' else '-1'}"
        when = f"the next `migrator {change.run.direction} {target}` goes on ({done or 'from the start'})"
    console.print(f"{change.run.key} ({change.run.title}): asked by {change.control.by}; {when}.")
    console.print_json(lambda: {"asked": "resume", "change": change.as_dict()})
