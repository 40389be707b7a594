"""Take revisions down to a target."""

from migrator.cli._command import Console, declare
from migrator.cli._options import DRY_RUN_EXIT, confirm, dry_run, lock_timeout, sure, targets


@declare(example="migrator downgrade -1", context_settings={"ignore_unknown_options": True})
@targets
@dry_run
@lock_timeout
@sure
async def command(
    console: Console, *, targets: tuple[str, ...], dry_run: bool, lock_timeout: float | None, sure: str | None
) -> int:
    """Take revisions down to TARGETS: -1, an id or its beginning (which stays), 3f2a-1 (which goes), base, events:-1.

    Revisions go down in reverse order of their application. Where the file of a revision is gone, because the
    database is ahead of the code, the text that the tracker kept is run. The name of a script runs its downgrade.
    """
    from migrator.cli._render import summary
    from migrator.core.errors import UsageError

    if not targets:
        raise UsageError(
            "downgrade needs a target",
            state="Nothing was changed.",
            hint="`migrator downgrade -1` takes the last revision down, `migrator downgrade base` all of them.",
        )
    async with console.watch(lock_timeout) as migrator:
        if not dry_run:
            confirm(migrator.config, sure, f"downgrade {' '.join(targets)}")
        outcome = await migrator.downgrade(*targets, databases=console.databases, dry_run=dry_run)
    console.print(summary(outcome, "Nothing to do: nothing is applied above the target."))
    console.print_json(outcome.as_dict)
    return DRY_RUN_EXIT if outcome.dry_run else 0
