"""Run scripts, verifies and the clean-up when they are due; show what is due."""

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict

import click

from migrator.cli._command import Console, declare
from migrator.core.wording import counted


@declare(example="migrator schedule", cls=click.Group, invoke_without_command=True)
async def command(console: Console) -> None:
    """Run what `[schedule]` in migrator.toml says, until SIGTERM or Ctrl-C.

    Start as many as you like: each firing is done once. What runs at the end gets some seconds to finish.
    """
    from migrator.core.errors import ConfigError
    from migrator.notifiers.log import Log
    from migrator.runtime import watchdog
    from migrator.runtime.exposing import exposed
    from migrator.runtime.scheduler import Scheduler

    config = console.config()
    console.log(config)
    if not config.schedules:
        raise ConfigError(
            f"{config.source} has no [schedule]",
            hint='Add: [schedule.nightly] with script = "NAME" and cron = "0 3 * * *"; or set CLEANUP_INTERVAL=24h.',
        )
    console.print(f"{counted(len(config.schedules), 'schedule')}: {', '.join(each.name for each in config.schedules)}")
    scheduler = Scheduler(config, [Log()])
    with suppress(asyncio.CancelledError):  # to be stopped is how it ends
        async with AsyncExitStack() as stack:
            stack.enter_context(watchdog.may_end(console.end_process))
            if config.metrics.listen:
                await stack.enter_async_context(exposed(config.metrics.listen, scheduler.measured))
            await scheduler.serve()


@declare(example="migrator schedule status")
async def status(console: Console) -> None:
    """Show the schedules: when each ran last, how that ended, and when it is due again."""
    from migrator.cli._table import table

    async with console.open() as migrator:
        firings = await migrator.past.firings()
    rows = [
        (each.name, each.word, each.started_at, each.finished_at, each.next, str(each.runs), each.by, each.message)
        for each in firings
    ]
    headers = ("schedule", "last", "began", "ended", "next", "runs", "by", "")
    console.print(table(headers, rows) if rows else "Nothing was scheduled yet: `migrator schedule` runs it.")
    console.print_json(lambda: {"schedules": [asdict(each) for each in firings]})


command.add_command(status, "status")  # type: ignore[attr-defined]
