"""Asking the person at the terminal."""

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from migrator.core.errors import Stopped, UsageError

T = TypeVar("T")


async def confirm(question: str, *, yes: bool) -> None:
    """Ask whether to go on, unless `yes` was said already. Raises Stopped on a no, UsageError where nobody is there."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} (nobody is at the terminal to answer)", hint="Say --yes.")
    if not typed(lambda: click.confirm(question, err=True)):
        raise Stopped(
            "stopped", state="Nothing was changed.", hint="Run it again with --yes to go on without a question."
        )


def typed(ask: Callable[[], T]) -> T:
    """Return what somebody at the terminal answers. Raises Stopped at Ctrl-C and at the end of what they type."""
    from migrator import _output, _signals

    _output.shown()
    try:
        with _signals.asking():
            return ask()
    except (click.Abort, KeyboardInterrupt):
        raise Stopped("stopped", state="Nothing was changed.", hint="Run it again.") from None
