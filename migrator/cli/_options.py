"""Options and arguments that several commands share."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from migrator.config import Config

DRY_RUN_EXIT = 10


def period(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read a time such as 30s or 10m, in seconds."""
    if value is None:
        return None
    from migrator.core.duration import seconds

    try:
        return seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _moment(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Read a time such as 2026-11-20 or 7d, as the filters of runs take it."""
    if not value:
        return ""
    from datetime import UTC, datetime

    from migrator.core.runs import moment

    try:
        return moment(value, datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


since = click.option(
    "--since",
    default="",
    metavar="TIME",
    callback=_moment,
    help="Begun at or after: 2026-11-20, 2026-11-20T10:30 (UTC), 7d.",
)
until = click.option("--until", default="", metavar="TIME", callback=_moment, help="Begun before.")
targets = click.argument("targets", nargs=-1)
dry_run = click.option("--dry-run", is_flag=True, help="Print the plan, change nothing, exit with 10.")
lock_timeout = click.option(
    "--lock-timeout", metavar="TIME", callback=period, help="How long to wait for the lock, such as 30s or 10m."
)
sure = click.option(
    "--yes-i-mean", "sure", metavar="NAME", help="The name of the protected environment in which this is meant."
)


def confirm(config: "Config", sure: str | None, command: str) -> None:
    """Let a destructive command pass where the environment is not protected, or where its name was given or is typed.

    Raises UsageError otherwise; nothing is asked where nobody sits at a terminal.
    """
    import sys

    from migrator.core.errors import UsageError

    name = config.environment
    if not config.protected or sure == name:
        return
    if sure is None and sys.stdin.isatty() and sys.stderr.isatty():
        from migrator.cli._ask import typed

        question = f"{name} is protected. Type its name to go on with `{command}`"
        sure = typed(lambda: str(click.prompt(question, err=True, default="")))
        if sure == name:
            return
    given = f", not {sure}" if sure else ""
    raise UsageError(
        f"`{command}` is destructive, and the environment {name} is protected{given}",
        state="Nothing was changed.",
        hint=f"If you mean it: `migrator {command} --yes-i-mean {name}`",
    )
