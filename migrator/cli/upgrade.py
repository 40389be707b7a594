"""Apply revisions up to a target."""

import click

from migrator.cli._command import Console, declare
from migrator.cli._options import DRY_RUN_EXIT, confirm, dry_run, lock_timeout, sure, targets


@declare(example="migrator upgrade head", context_settings={"ignore_unknown_options": True})
@targets
@dry_run
@click.option("--force", is_flag=True, help="Run applied revisions again, and record that it was forced.")
@lock_timeout
@sure
async def command(
    console: Console,
    *,
    targets: tuple[str, ...],
    dry_run: bool,
    force: bool,
    lock_timeout: float | None,
    sure: str | None,
) -> int:
    """Apply revisions up to TARGETS: head (the default), heads, +2, an id or its beginning, label@head, events:3f2a.

    Each step runs in order, is verified, and is recorded in the tracker. When one fails, the command stops there.
    """
    from migrator.cli._render import summary

    async with console.watch(lock_timeout) as migrator:
        if force and not dry_run:
            confirm(migrator.config, sure, "upgrade --force")
        outcome = await migrator.upgrade(*targets, databases=console.databases, force=force, dry_run=dry_run)
    console.print(summary(outcome, "Nothing to do: everything is applied."))
    console.print_json(outcome.as_dict)
    return DRY_RUN_EXIT if outcome.dry_run else 0
