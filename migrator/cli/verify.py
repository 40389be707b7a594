"""Ask applied revisions whether the database still agrees."""

from dataclasses import asdict

from migrator.cli._command import Console, declare
from migrator.cli._options import targets

VERIFY_EXIT = 13


@declare(example="migrator verify")
@targets
async def command(console: Console, *, targets: tuple[str, ...]) -> int:
    """Run the verify of applied revisions (all of them, or TARGETS) and report. Changes nothing.

    PostgreSQL refuses writes while a verify runs. Ends with 13 when one says no.
    """
    from migrator.cli._render import duration, table

    async with console.watch() as migrator:
        answers = await migrator.verify(*targets, databases=console.databases)
    words = {True: "ok", False: "failed", None: "-"}
    rows = [
        (words[each.ok], f"{each.database}:{each.revision}", each.title, duration(each.duration_ms), each.message)
        for each in answers
    ]
    console.print(table(("verify", "revision", "title", "time", ""), rows) if rows else "Nothing is applied.")
    console.print_json(lambda: {"verify": [asdict(each) for each in answers]})
    return VERIFY_EXIT if any(each.ok is False for each in answers) else 0
