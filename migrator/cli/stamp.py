"""Write the tracker without running anything."""

from migrator.cli._command import Console, declare
from migrator.cli._options import DRY_RUN_EXIT, dry_run, targets


@declare(example="migrator stamp head", context_settings={"ignore_unknown_options": True})
@targets
@dry_run
async def command(console: Console, *, targets: tuple[str, ...], dry_run: bool) -> int:
    """Record that the databases are at TARGETS, without running anything.

    What is missing below a target is recorded as applied, what is applied beyond it as taken down, and an edited
    revision with its new text. Use it to adopt a database that has the changes already.
    """
    from migrator.cli._render import summary
    from migrator.core.errors import UsageError

    if not targets:
        raise UsageError(
            "stamp needs a target", state="Nothing was changed.", hint="For example `migrator stamp head` or `3f2a`."
        )
    async with console.watch() as migrator:
        outcome = await migrator.stamp(*targets, databases=console.databases, dry_run=dry_run)
    console.print(summary(outcome, "Nothing to do: the tracker says so already."))
    console.print_json(outcome.as_dict)
    return DRY_RUN_EXIT if outcome.dry_run else 0
