"""Change the settings of a long change while it runs."""

import click

from migrator.cli._changes import changed
from migrator.cli._command import Console, declare


@declare(example="migrator tune -d main target=0.2 max_rows_per_second=500")
@click.argument("settings", nargs=-1, metavar="NAME=VALUE...")
@click.option("--run", default="", metavar="RUN", help="Of this run, where there are several.")
async def command(console: Console, *, settings: tuple[str, ...], run: str) -> None:
    """Change settings of the long change that is at work; they stay with it when it is started again.

    target: seconds that a batch should take. max_rows and max_bytes: the most of a batch. max_rows_per_second: the
    most of all, 0 for no limit.
    """
    from migrator.core.tuning import settings_of

    async with console.open() as migrator:
        change = await migrator.controls.tune(settings_of(settings), run, console.databases)
    when = "from the next batch on" if change.at_work else "when it goes on"
    console.print(f"{change.run.key} ({change.run.title}): {changed(change)}, {when}; asked by {change.control.by}.")
    console.print_json(lambda: {"asked": "tune", "change": change.as_dict()})
