"""Show the newest revision of each branch."""

from migrator.cli._command import Console, declare


@declare(example="migrator heads")
async def command(console: Console) -> None:
    """Show the heads of each database. More than one means that two branches wait to be joined."""
    from migrator.cli._table import table

    async with console.open() as migrator:
        history = await migrator.history(console.databases)
        names = console.databases or tuple(migrator.config.databases)
    heads = [history[key] for name in names for key in history.heads(name)]
    rows = [(head.database, head.id, head.title, ", ".join(sorted(history.labels(head.key)))) for head in heads]
    console.print(table(("database", "revision", "title", "labels"), rows))
    console.print_json(
        lambda: {"heads": [{"database": head.database, "revision": head.id, "title": head.title} for head in heads]}
    )
