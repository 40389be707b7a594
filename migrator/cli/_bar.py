"""A long change on the screen: on a terminal a bar that moves, elsewhere a line every ten seconds."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from migrator.cli._table import cells, shortened
from migrator.core.events import BatchDone, LoopBegun
from migrator.core.pace import Speed
from migrator.core.wording import amount, remaining

if TYPE_CHECKING:
    from migrator.core.batch import Control

BAR = 12
"""Cells of the bar."""

_AROUND = 4
"""Cells of the spinner and of the spaces between it, the title, the bar and the rest."""

_TITLE = 14
"""Cells that stay for the title."""

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
            self._show(self._pace(now), completed=event.total, total=expected)
        elif now - self._told >= EVERY:
            self._told = now
            self._say(", ".join(self._pace(now)))

    def still(self, reason: str) -> None:
        """Show that the work stands still, in place of when it will be done."""
        if self._screen is not None and self._loop is not None:
            self._show([amount(self._loop.rows, self._loop.expected), f"stands still, {reason}"])
        else:
            self._say(f"stands still, {reason}")

    def on(self, seconds: float) -> None:
        """Show that the work goes on."""
        if self._screen is not None:
            self._show(self._pace(self._clock()))
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

    def _pace(self, now: float) -> list[str]:
        """Return how far the loop is, how fast, and how long it will take."""
        loop = self._loop
        if loop is None:
            return []
        speed = loop.speed.rate(now)
        rate = f"{speed:,.0f} rows/s" if speed else ""
        left = remaining(loop.speed.estimate(loop.expected, now))
        size = f"{loop.size:,} a batch" if loop.size else ""
        return [part for part in (amount(loop.rows, loop.expected), rate, left, size) if part]

    def _show(self, parts: list[str], **settings: Any) -> None:
        """Show this beside the bar, in one line: the title is shortened first, then parts are left out from the end."""
        room = self._screen.console.width - _AROUND - BAR
        while len(parts) > 1 and cells(", ".join(parts)) > room - _TITLE:
            parts = parts[:-1]
        said = shortened(self._mask(", ".join(parts)), room - _TITLE)
        name = f" {self._loop.name}" if self._loop else ""
        title = shortened(self._mask(f"{self._title}{name}"), room - cells(said))
        self._screen.update(self._task, description=title, said=said, **settings)

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
            text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
            said = TextColumn("{task.fields[said]}", markup=False, table_column=Column(no_wrap=True))
            self._screen = Progress(SpinnerColumn(), text, BarColumn(BAR), said, transient=True)
            self._screen.start()
        total = loop.expected if loop.expected >= loop.rows else None
        self._task = self._screen.add_task("", completed=loop.rows, total=total, said="")
        self._show([amount(loop.rows, loop.expected)])
