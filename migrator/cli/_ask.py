"""Asking the person at the terminal."""

import sys

import click

from migrator.core.errors import Stopped, UsageError


async def confirm(question: str, *, yes: bool) -> None:
    """Ask whether to go on, unless `yes` was said already. Raises Stopped on a no, UsageError where nobody is there."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} (nobody is at the terminal to answer)", hint="Say --yes.")
    import asyncio
    import signal

    # Ctrl-C is to end the question; the loop, which would hear of it, stands still while somebody types.
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        agreed = False
    if not agreed:
        raise Stopped(
            "stopped", state="Nothing was changed.", hint="Run it again with --yes to go on without a question."
        )
