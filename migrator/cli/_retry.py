"""`migrator runs retry-failed`: the rows that a long change passed over, once more."""

import click

from migrator.cli._command import Console, declare
from migrator.cli._options import lock_timeout
from migrator.core.wording import counted

FAILED_AGAIN_EXIT = 1


@declare(example="migrator runs retry-failed 01k9")
@click.argument("run")
@lock_timeout
async def command(console: Console, *, run: str, lock_timeout: float | None) -> int:
    """Run the rows that RUN, a long change with on_error="skip", passed over, and no others.

    Each is a transaction of its own; one that is done now is forgotten in it. Ends with 1 where some fail again.
    """
    from migrator.cli._render import summary

    async with console.watch(lock_timeout) as migrator:
        outcome = await migrator.retry_failed(run, console.databases)
    loops = [loop for each in outcome.runs for loop in (each.progress or {}).get("loops", ())]
    again = sum(loop["skipped"] for loop in loops)
    console.print(summary(outcome, "Nothing to do: no row was passed over, or all of them are done by now."))
    if again:
        console.print(f"{counted(again, 'row')} failed again; `migrator runs show {outcome.runs[-1].run_id}` says why.")
    console.print_json(outcome.as_dict)
    return FAILED_AGAIN_EXIT if again else 0
