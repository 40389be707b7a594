"""From an exception to what the person on call reads, and to the exit code."""

import json
import sys
import traceback
from typing import Any

import click

from migrator.cli._json import dumps
from migrator.core.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectionFailed,
    DatabaseMissing,
    DependencyMissing,
    MigratorError,
    PlanRefused,
    Stopped,
    TargetError,
    UsageError,
)
from migrator.core.secrets import Mask

_EARLY = (
    AuthenticationFailed,
    ConfigError,
    ConnectionFailed,
    DatabaseMissing,
    DependencyMissing,
    PlanRefused,
    TargetError,
    UsageError,
)
"""What is raised before the first step begins; in a step it would be the cause of RunFailed."""

UNCHANGED = "Nothing was changed."
USAGE = 3


def show(error: BaseException, *, mask: Mask, as_json: bool, debug: bool) -> int:
    """Print an error and return the exit code. No secret passes."""
    known = error if isinstance(error, MigratorError) else _unexpected(error)
    _complete(known)
    if debug:
        click.echo(mask("".join(traceback.format_exception(error))), err=True)
    if as_json:
        click.echo(dumps({"error": known.as_dict()}, mask))
    else:
        _print(mask(known.message), mask(known.state), mask(known.hint))
    return known.exit_code


def show_usage(error: click.ClickException) -> int:
    """Print what click found wrong, in our form."""
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "migrator"
    hint = f"`{command} --help` shows how it is meant."
    if "--json" in sys.argv:
        fields: dict[str, Any] = {"type": "UsageError", "message": error.format_message()}
        click.echo(json.dumps({"error": {**fields, "state": UNCHANGED, "hint": hint, "exit_code": USAGE}}))
    else:
        _print(error.format_message(), UNCHANGED, hint)
    return USAGE


def _complete(error: MigratorError) -> None:
    """Say what state the database is in and what to do, where whoever raised the error left it open."""
    early = isinstance(error, _EARLY)
    error.state = error.state or (UNCHANGED if early else "Every step that was begun is in the tracker.")
    error.hint = error.hint or (
        "Correct it, then run the command again." if early else "`migrator status` shows where things stand."
    )


def _print(message: str, state: str, hint: str) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if state:
        click.echo(f"{click.style('state:', bold=True)} {state}", err=True)
    if hint:
        click.echo(f"{click.style('next: ', fg='cyan', bold=True)} {hint}", err=True)


def _unexpected(error: BaseException) -> MigratorError:
    if type(error).__name__ in ("CancelledError", "KeyboardInterrupt"):
        return Stopped(
            "stopped before the end",
            state="The step that was running was rolled back or is settled by the next command.",
            hint="`migrator status` shows where things stand.",
        )
    return MigratorError(
        f"{type(error).__name__}: {error}",
        state="This is a defect of migrator or of a plug-in.",
        hint="Run it again with DEBUG=1 for the traceback, and report it.",
    )
