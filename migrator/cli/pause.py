"""Let a long change stand still, from any terminal."""

from migrator.cli._changes import reason, run
from migrator.cli._command import Console, declare


@declare(example='migrator pause -d main --reason "until the sale is over"')
@run
@reason
async def command(console: Console, *, run: str, reason: str) -> None:
    """Pause the long change that is at work, or that of RUN, after the batch it is at.

    It keeps the lock while it stands still, also when another `migrator upgrade` starts it again.
    """
    async with console.open() as migrator:
        change = await migrator.controls.pause(run, reason.strip(), console.databases)
    when = (
        "It stands still within one batch"
        if change.at_work
        else "Nobody is at work at it; the next upgrade stands still"
    )
    console.print(f"{change.run.key} ({change.run.title}): {change.control.pause}. {when}.")
    console.print_json(lambda: {"asked": "pause", "change": change.as_dict()})
