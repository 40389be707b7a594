"""A line for each step as it ends; on a terminal also one that moves while it runs; and how a long change goes on."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from migrator.cli._table import cells, shortened, terminal_width
from migrator.core.events import (
    Asked,
    BatchDone,
    Event,
    LockWaiting,
    LoopBegun,
    RunFinished,
    RunSettled,
    RunStarted,
    Throttled,
    Unthrottled,
)
from migrator.core.run import Run, Status
from migrator.core.secrets import Mask
from migrator.core.wording import duration, loop_report

if TYPE_CHECKING:
    from migrator.cli._bar import Bar


class Progress:
    """Implements `core.protocols.Notifier` for the person who started the command."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._live: Any = None
        self._bar: Bar | None = None
        self._title = ""
        self._terminal = sys.stdout.isatty()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, RunStarted):
            self._title = f"[{event.number}/{event.total}] {event.run.key}"
            self._spin(f"{self._title} {event.run.title}")
        elif isinstance(event, RunFinished):
            self._stop()
            room = terminal_width() if self._terminal else 0
            click.echo(_line(event.run, event.number, event.total, self._mask, room))
            for loop in (event.run.progress or {}).get("loops", ()):
                click.echo(self._mask(f"       {loop_report(loop)}"))
        elif isinstance(event, LockWaiting):
            self._stop()
            click.echo(self._mask(f"waiting {event.waited:.0f} s: {event.holder}"), err=True)
        elif isinstance(event, RunSettled):
            run = event.run
            click.echo(
                self._mask(f"settled an interrupted run of {run.key}: {run.status}, effect {run.effect} ({run.reason})")
            )
        else:
            self._go_on(event)

    def _go_on(self, event: Event) -> None:
        """Show how a long change goes on."""
        if isinstance(event, LoopBegun):
            self._begin(event)
        elif self._bar is None:
            return
        elif isinstance(event, BatchDone):
            self._bar.step(event)
        elif isinstance(event, Throttled):
            self._bar.still(event.reason)
        elif isinstance(event, Unthrottled):
            self._bar.on(event.seconds)
        elif isinstance(event, Asked):
            self._bar.hear(event.control)

    def _begin(self, event: LoopBegun) -> None:
        from migrator.cli._bar import Bar

        if self._bar is None:
            self._stop()
            self._bar = Bar(self._title, self._mask, terminal=self._terminal)
        self._bar.begin(event)

    def _spin(self, text: str) -> None:
        if self._terminal:
            from rich.console import Console
            from rich.text import Text

            self._live = Console().status(Text(self._mask(text), no_wrap=True, overflow="ellipsis"))
            self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _line(run: Run, number: int, total: int, mask: Callable[[str], str], room: int) -> str:
    """Return the line of a step that ended, its title shortened to the `room` of a terminal (0: there is none)."""
    width = len(str(total))
    good = run.status is Status.SUCCESS
    word = click.style("ok    " if good else "failed", fg="green" if good else "red")
    forced = " (forced)" if run.forced else ""
    head, spent = f"[{number:>{width}}/{total}] ", duration(run.duration_ms)
    middle, title = f" {run.direction:<9} {run.key}  ", mask(run.title)
    if room:
        title = shortened(title, room - cells(f"{head}failed{middle}{forced}  {spent}"))
    return f"{head}{word}{middle}{title}{forced}  {click.style(spent, dim=True)}".rstrip()
