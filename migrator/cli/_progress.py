"""A line for each step as it ends; on a terminal also a line that moves while it runs."""

import sys
from typing import Any

import click

from migrator.cli._render import duration
from migrator.core.events import Event, LockWaiting, RunFinished, RunSettled, RunStarted
from migrator.core.run import Run, Status
from migrator.core.secrets import Mask


class Progress:
    """Implements `core.protocols.Notifier` for the person who started the command."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._live: Any = None
        self._terminal = sys.stdout.isatty()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, RunStarted):
            self._spin(f"[{event.number}/{event.total}] {event.run.key} {event.run.title}")
        elif isinstance(event, RunFinished):
            self._stop()
            click.echo(self._mask(_line(event.run, event.number, event.total)))
        elif isinstance(event, LockWaiting):
            self._stop()
            click.echo(self._mask(f"waiting {event.waited:.0f} s: {event.holder}"), err=True)
        elif isinstance(event, RunSettled):
            run = event.run
            click.echo(
                self._mask(f"settled an interrupted run of {run.key}: {run.status}, effect {run.effect} ({run.reason})")
            )

    def _spin(self, text: str) -> None:
        if self._terminal:
            from rich.console import Console

            self._live = Console().status(self._mask(text))
            self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _line(run: Run, number: int, total: int) -> str:
    width = len(str(total))
    good = run.status is Status.SUCCESS
    word = click.style("ok    " if good else "failed", fg="green" if good else "red")
    forced = " (forced)" if run.forced else ""
    return (
        f"[{number:>{width}}/{total}] {word} {run.direction:<9} {run.key}  {run.title}{forced}  "
        + click.style(duration(run.duration_ms), dim=True)
    ).rstrip()
