"""Options and arguments that several commands share."""

import click

DRY_RUN_EXIT = 10


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read a time such as 30s or 10m, in seconds."""
    if value is None:
        return None
    from migrator.core.duration import seconds

    try:
        return seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


targets = click.argument("targets", nargs=-1)
dry_run = click.option("--dry-run", is_flag=True, help="Print the plan, change nothing, exit with 10.")
lock_timeout = click.option(
    "--lock-timeout", metavar="TIME", callback=_seconds, help="How long to wait for the lock, such as 30s or 10m."
)
