"""Look for what would stand in the way."""

from migrator.cli._command import Console, declare


@declare(example="migrator doctor")
async def command(console: Console) -> int:
    """Check each database: can it be reached, which server, what may the user do, is the clock sane, what is applied.

    And each plug-in of another distribution: can it be imported.

    Changes nothing. Ends with 1 when something would stop an upgrade; `--json` is the document for probes.
    """
    from migrator import plugins
    from migrator.cli._table import table

    async with console.open() as migrator:
        health = await migrator.doctor(console.databases)
    found = [(name, each) for name, database in health.databases.items() for each in database.findings]
    found += [("", each) for each in plugins.findings()]
    rows = [(each.level, name, each.subject, each.text) for name, each in found]
    console.print(table(("", "database", "subject", "finding"), rows))
    for name, each in found:
        if each.hint:
            console.print(f"{name} {each.subject}: {each.hint}".lstrip())
    console.print_failures(f"{name} {each.subject}: {each.text}" for name, each in found if each.level == "fail")
    console.print_json(lambda: {**health.as_dict(), "plugins": [each._asdict() for each in plugins.findings()]})
    return int(health.status == "failing")
