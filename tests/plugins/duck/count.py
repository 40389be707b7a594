"""The command `migrator count`."""

from migrator.commands import Console, declare


@declare(example="migrator count")
async def command(console: Console) -> None:
    """Count the revisions."""
    async with console.open() as migrator:
        history = await migrator.history(console.databases)
    console.print(f"{len(history)} ducks")
    console.print_json(lambda: {"ducks": len(history)})
