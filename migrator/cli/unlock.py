"""End whoever holds a lock."""

import click

from migrator.cli._command import Console, declare


@declare(example='migrator unlock -d main --reason "its pod is gone, checked with kubectl"')
@click.option("--reason", default="", help="Why; kept beside the lock. Without it the command only shows the holders.")
async def command(console: Console, *, reason: str) -> None:
    """Show who holds the locks; with a reason, end them: the session is terminated or the lease ended.

    A lock frees itself in seconds when its holder dies, is paused or cut off, so this is for one that lives and must
    not go on. Whatever it does afterwards is refused; the next upgrade finds out what it did.
    """
    async with console.open() as migrator:
        holders = await migrator.unlock(reason.strip(), console.databases)
    verb = "ended" if reason.strip() else "held by"
    for name, holder in holders.items():
        console.print(f"{name}  {verb} {holder}" if holder else f"{name}  free")
    if any(holders.values()):
        console.print("Next: migrator upgrade head" if reason.strip() else 'To end it: migrator unlock --reason "..."')
    console.print_json(lambda: {"holders": {name: each and each._asdict() for name, each in holders.items()}})
