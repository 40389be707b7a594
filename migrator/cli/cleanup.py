"""Delete the runs and logs that are no longer kept."""

import click

from migrator.cli._command import Console, declare
from migrator.cli._options import DRY_RUN_EXIT
from migrator.core.wording import counted


@declare(example="migrator cleanup --dry-run")
@click.option("--days", type=click.IntRange(0, 36_500), help="In place of [retention] keep_days.")
@click.option("--dry-run", is_flag=True, help="Say what would go, change nothing, exit with 10.")
async def command(console: Console, *, days: int | None, dry_run: bool) -> int:
    """Delete the runs and log files that [retention] does not keep; log files first, then runs, 100 at a time.

    What the tracker knows of a revision now is never deleted. Without -d, log files that belong to no run and what is
    too much for max_bytes go too. Ends with 1 when something could not be deleted.
    """
    async with console.watch() as migrator:
        done = await migrator.past.cleanup(days, console.databases, dry_run=dry_run)
    for name, count in done.runs.items():
        console.print(f"{name}  {counted(count, 'run')}")
    for error in done.errors:
        console.print(f"error: {error}")
    console.print(f"{done}." + (" Dry run: nothing was changed." if done.dry_run else ""))
    console.print_json(done.as_dict)
    return DRY_RUN_EXIT if done.dry_run else int(bool(done.errors))
