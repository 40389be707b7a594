"""Print the log of a run."""

import click

from migrator.cli._command import Console, declare
from migrator.core.logs import LEVELS


@declare(example="migrator logs 01k9xxyyzz0a1 --follow")
@click.argument("run")
@click.option("--follow", is_flag=True, help="Go on with what comes, until the run has ended.")
@click.option("--level", type=click.Choice(LEVELS, case_sensitive=False), default="DEBUG", help="This level or higher.")
async def command(console: Console, *, run: str, follow: bool, level: str) -> None:
    """Print the log of RUN, whose id may be shortened, with its compressed parts. A revision means its last run.

    Where the file is missing or cannot be read, that is said, with the last lines that the tracker kept of a failure.
    """
    from migrator.core.errors import UsageError
    from migrator.core.logs import Threshold
    from migrator.runtime.logfiles import NoLog

    if follow and console.as_json:
        raise UsageError("--follow has no end, and --json is one document", hint="Leave one of them out.")
    threshold, lines, note = Threshold(level), list[str](), ""
    async with console.open() as migrator:
        (found,) = (await migrator.past.run(run, console.databases)).runs
        try:
            if follow:
                async for line in migrator.past.follow(found):
                    if threshold.lets(line):
                        console.print(line)
            else:
                for line in filter(threshold.lets, migrator.past.log(found)):
                    console.print(line)
                    if console.as_json:
                        lines.append(line)
        except NoLog as error:
            note = str(error)
            kept = (found.result or {}).get("log", [])
            console.print("\n".join([f"note: {note}", *(f"kept: {line}" for line in kept)]))
    console.print_json(lambda: {"run": found.run_id, "file": found.log_file, "note": note, "lines": lines})
