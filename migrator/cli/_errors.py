"""From an exception to what the person on call reads, and to the exit code."""

import json
import sys
import traceback
from typing import Any

import click

from migrator.cli._json import dumps
from migrator.core.advice import UNCHANGED, advised
from migrator.core.secrets import Mask

USAGE = 3


def show(error: BaseException, *, mask: Mask, as_json: bool, debug: bool) -> int:
    """Print an error and return the exit code. No secret passes."""
    known = advised(error)
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
        click.echo(
            json.dumps({"error": {**fields, "state": UNCHANGED, "hint": hint, "exit_code": USAGE, "retry": False}})
        )
    else:
        _print(error.format_message(), UNCHANGED, hint)
    return USAGE


def _print(message: str, state: str, hint: str) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if state:
        click.echo(f"{click.style('state:', bold=True)} {state}", err=True)
    if hint:
        click.echo(f"{click.style('next: ', fg='cyan', bold=True)} {hint}", err=True)
