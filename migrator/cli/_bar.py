"""A long change on the screen: on a terminal a bar that moves, elsewhere a line every ten seconds."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from migrator.core.events import BatchDone, LoopBegun
from migrator.core.pace import Speed
from migrator.core.wording import amount, remaining

if TYPE_CHECKING:
    from migrator.core.batch import Control

EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


@dataclass
class _Loop:
    """What is known of the loop that is at work."""

    name: str
    rows: int
    expected: int
    size: int = 0
    speed: Speed = field(default_factory=Speed)


class Bar:
    """Shows the loops of one step. `title` comes before each line; `mask` takes secrets out."""

    def __init__(
        self, title: str, mask: Callable[[str], str], *, terminal: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._title = title
        self._mask = mask
        self._terminal = terminal
        self._clock = clock
        self._loop: _Loop | None = None
        self._told = clock()
        self._settings: Mapping[str, float] = {}
        self._screen: Any = None
        self._task: Any = None

    def begin(self, event: LoopBegun) -> None:
        """Show a loop that begins, and say where it goes on if it has been at work before."""
        self._loop = _Loop(event.name, event.rows, event.expected)
        self._loop.speed.mark(self._clock(), event.rows)
        if event.rows:
            self._say(f"goes on at {amount(event.rows, event.expected)}")
        if self._terminal:
            self._open(self._loop)

    def step(self, event: BatchDone) -> None:
        """Show that a batch is done."""
        if self._loop is None:
            return
        now = self._clock()
        self._loop.rows, self._loop.expected, self._loop.size = event.total, event.expected, event.size
        self._loop.speed.mark(now, event.total)
        if self._screen is not None:
            expected = event.expected if event.expected >= event.total else None
            self._screen.update(self._task, completed=event.total, total=expected, said=self._mask(self._pace(now)))
        elif now - self._told >= EVERY:
            self._told = now
            self._say(self._pace(now))

    def still(self, reason: str) -> None:
        """Show that the work stands still, in place of when it will be done."""
        if self._screen is not None and self._loop is not None:
            said = f"{amount(self._loop.rows, self._loop.expected)}, stands still, {reason}"
            self._screen.update(self._task, said=self._mask(said))
        else:
            self._say(f"stands still, {reason}")

    def on(self, seconds: float) -> None:
        """Show that the work goes on."""
        if self._screen is not None:
            self._screen.update(self._task, said=self._mask(self._pace(self._clock())))
        else:
            self._say(f"goes on after {seconds:.0f} s")

    def hear(self, control: "Control") -> None:
        """Say what settings a person changed; a pause is told when the work stands still."""
        if control.settings != self._settings:
            self._settings = control.settings
            changed = " ".join(f"{name}={value:g}" for name, value in control.settings.items())
            self._say(f"settings changed by {control.by}: {changed}")

    def stop(self) -> None:
        """Take the bar away."""
        if self._screen is not None:
            self._screen.stop()
            self._screen = None

    def _pace(self, now: float) -> str:
        loop = self._loop
        if loop is None:
            return ""
        speed = loop.speed.rate(now)
        rate = f"{speed:,.0f} rows/s" if speed else ""
        left = remaining(loop.speed.estimate(loop.expected, now))
        size = f"{loop.size:,} a batch" if loop.size else ""
        return ", ".join(part for part in (amount(loop.rows, loop.expected), rate, left, size) if part)

    def _say(self, text: str) -> None:
        name = f" {self._loop.name}" if self._loop else ""
        line = self._mask(f"{self._title}{name}: {text}")
        if self._screen is None:
            click.echo(line)
        else:  # above the bar: what is printed past rich would stay in its middle
            self._screen.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _open(self, loop: _Loop) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
        from rich.table import Column

        if self._screen is None:
            text = TextColumn("{task.description}", markup=False)
            said = TextColumn("{task.fields[said]}", markup=False, table_column=Column(no_wrap=False))
            self._screen = Progress(SpinnerColumn(), text, BarColumn(20), said, transient=True)
            self._screen.start()
        total = loop.expected if loop.expected >= loop.rows else None
        said_now = self._mask(amount(loop.rows, loop.expected))
        title = self._mask(f"{self._title} {loop.name}")
        self._task = self._screen.add_task(title, completed=loop.rows, total=total, said=said_now)
