"""Look for what would stand in the way."""

from migrator.cli._command import Console, declare


@declare(example="migrator doctor")
async def command(console: Console) -> int:
    """Check each database: can it be reached, which server, what may the user do, is the clock sane. Changes nothing.

    Ends with 1 when something would stop an upgrade.
    """
    from migrator.cli._render import table

    async with console.open() as migrator:
        found = await migrator.doctor(console.databases)
    rows = [(each.level, name, each.subject, each.text) for name, all_of in found.items() for each in all_of]
    console.print(table(("", "database", "subject", "finding"), rows))
    for name, all_of in found.items():
        for each in all_of:
            if each.hint:
                console.print(f"{name} {each.subject}: {each.hint}")
    console.print_json(
        lambda: {"databases": {name: [each._asdict() for each in all_of] for name, all_of in found.items()}}
    )
    return int(any(each.level == "fail" for all_of in found.values() for each in all_of))
