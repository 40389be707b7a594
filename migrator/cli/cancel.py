"""End a long change where it is, from any terminal."""

from migrator.cli._changes import reason, run
from migrator.cli._command import Console, declare


@declare(example='migrator cancel --reason "it slows the shop down"')
@run
@reason
async def command(console: Console, *, run: str, reason: str) -> None:
    """End the long change that is at work, or that of RUN, after the batch it is at. It needs a --reason.

    What it has done is kept, with its checkpoint. The next upgrade is refused until `migrator resume`.
    """
    async with console.open() as migrator:
        change = await migrator.controls.cancel(run, reason.strip(), console.databases)
    when = "It ends within one batch" if change.at_work else "Nobody is at work at it; the next upgrade is refused"
    console.print(
        f"{change.run.key} ({change.run.title}): cancelled by {change.control.by}: {change.control.reason}. {when}; "
        f"what it has done is kept. To take it back: migrator resume {change.run.run_id}"
    )
    console.print_json(lambda: {"asked": "cancel", "change": change.as_dict()})
