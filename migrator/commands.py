"""What commands have in common, for those of other distributions: `declare` makes one, `Console` is what it is given.

A command made by `declare` has `--config`, `-d`, `--json`, `--quiet` and `-v`, ends cleanly at Ctrl-C and SIGTERM, and
shows a `MigratorError` with its exit code:

    from migrator.commands import Console, declare

    @declare(example="migrator duck")
    async def command(console: Console) -> None:
        \"\"\"Count the revisions.\"\"\"
        async with console.open() as migrator:
            console.print(str(len(await migrator.history())))
"""

from migrator.cli._command import Console, declare

__all__ = ["Console", "declare"]
