"""What every command has: the common options, the event loop, the signals, and one way out for errors."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

import click

from migrator import _output, _signals
from migrator.core.secrets import Mask

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from migrator.config import Config
    from migrator.core.protocols import Notifier
    from migrator.runtime.migrator import Migrator

_COMMON = (
    click.option("--config", "config_path", metavar="FILE", help="Read FILE instead of migrator.toml."),
    click.option(
        "-d", "--database", "databases", multiple=True, metavar="NAME", help="Only this database; repeatable."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout; logs go to stderr."),
    click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
    click.option("-v", "--verbose", count=True, help="More log lines on stderr; twice for all of them."),
)


@dataclass
class Console:
    """How one call of a command wants to be answered, and its configuration once it is loaded."""

    databases: tuple[str, ...]
    as_json: bool
    quiet: bool
    verbose: int
    config_path: str | None
    mask: Mask = field(default_factory=lambda: Mask(()))
    debug: bool = False

    def config(self) -> "Config":
        """Load the configuration. Raises ConfigError."""
        from migrator.config import load

        config = load(self.config_path)
        self.mask, self.debug = config.mask(), config.debug
        return config

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Migrator"]:
        """Open the Migrator for a command that only reads."""
        from migrator.runtime.migrator import Migrator

        async with Migrator.open(self.config()) as migrator:
            yield migrator

    @asynccontextmanager
    async def watch(self, lock_timeout: float | None = None) -> AsyncIterator["Migrator"]:
        """Open the Migrator for a command that runs scripts: with the log, and this console to hear of its events."""
        import msgspec

        from migrator.cli._printed import aside
        from migrator.notifiers.log import Log, configure
        from migrator.runtime import watchdog
        from migrator.runtime.migrator import Migrator
        from migrator.runtime.runlog import hear_warnings

        config = self.config()
        level = {0: config.log_level, 1: "INFO"}.get(self.verbose, "DEBUG")
        configure(level, config.log_format, self.mask, config.logs.level)
        hear_warnings()
        if lock_timeout is not None:
            config = msgspec.structs.replace(config, lock_timeout=lock_timeout)
        notifiers: list[Notifier] = [Log()]
        if not (self.as_json or self.quiet):
            from migrator.cli._progress import Progress

            notifiers.append(Progress(self.mask))
        printed = aside(self.mask, everything=self.as_json)
        with _output.working(), watchdog.may_end(self.end_process), printed:
            async with Migrator.open(config, notifiers) as migrator:
                yield migrator

    def log(self, config: "Config") -> None:
        """Send the log of a command that runs until it is stopped to stderr: what it does, or with --quiet errors."""
        from migrator.notifiers.log import configure
        from migrator.runtime.runlog import hear_warnings

        hear_warnings()
        level = "ERROR" if self.quiet else "DEBUG" if self.verbose else "INFO"
        configure(level, config.log_format, self.mask)
        _output.lose_lines()

    def end_process(self, path: str) -> NoReturn:
        """Report a script that cannot be interrupted, and end this process. Called from the watchdog's thread."""
        import os

        from migrator.cli._errors import show
        from migrator.core.errors import TookTooLong

        error = TookTooLong(
            f"{path} goes on past its time limit and cannot be interrupted, so the process ends",
            state="The server rolls back what was not committed; the run is interrupted.",
            hint="`migrator status` shows it; the next `migrator upgrade` settles it. Let what blocks run in a thread.",
        )
        code = show(error, mask=self.mask, as_json=self.as_json, debug=False)
        _output.finish()
        os._exit(code)

    def print(self, text: str = "", *, source: bool = False) -> None:
        """Print a line for a person, unless they want to hear errors only or a program is reading.

        The `source` of a revision is printed as it is, to go into a file; only secrets that are known are left out.
        """
        if not (self.quiet or self.as_json):
            click.echo(self.mask.known(text) if source else self.mask(text), nl=not source)

    def print_failures(self, texts: Iterable[str]) -> None:
        """Print what failed on stderr where the table that shows it is not wanted: --quiet still prints errors."""
        if self.quiet and not self.as_json:
            for text in texts:
                click.echo(f"{click.style('error:', fg='red', bold=True)} {self.mask(text)}", err=True)

    def print_json(self, document: Callable[[], Any]) -> None:
        """Print one JSON document where one is wanted."""
        if self.as_json:
            from migrator.cli._json import dumps

            click.echo(dumps(document(), self.mask))


def declare(*, example: str, **settings: Any) -> Callable[[Callable[..., Awaitable[int | None]]], click.Command]:
    """Make a command of a coroutine function, whose docstring is its help and whose result is the exit code."""

    def decorate(function: Callable[..., Awaitable[int | None]]) -> click.Command:
        @wraps(function)
        def run(
            *,
            config_path: str | None,
            databases: tuple[str, ...],
            as_json: bool,
            quiet: bool,
            verbose: int,
            **options: Any,
        ) -> None:
            if _is_group_of(click.get_current_context()):
                return
            console = Console(databases, as_json, quiet, verbose, config_path)
            sys.exit(_run(console, lambda: function(console, **options)))

        callback: Callable[..., Any] = run
        for option in reversed(_COMMON):
            callback = option(callback)
        make: Callable[[Callable[..., Any]], click.Command] = click.command(epilog=f"Example: {example}", **settings)
        return make(callback)

    return decorate


def _is_group_of(context: click.Context) -> bool:
    """Say whether another command was named behind this one, which then has nothing to do itself.

    An option before that name would be lost, so it is refused.
    """
    if context.invoked_subcommand is None:
        return False
    for param in context.command.params:
        if context.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE:
            behind = f"{context.command_path} {context.invoked_subcommand}"
            raise click.UsageError(f"{param.opts[-1]} belongs behind {behind}", context)
    return True


def _run(console: Console, start: Callable[[], Awaitable[int | None]]) -> int:
    from migrator.cli._errors import show

    try:
        return _complete(start)
    except BaseException as error:  # noqa: BLE001 - the one way out
        return show(error, mask=console.mask, as_json=console.as_json, debug=console.debug)


def _complete(start: Callable[[], Awaitable[int | None]]) -> int:
    """Run a command to its end, as `asyncio.run` does, also where a task that a script has begun calls sys.exit.

    asyncio lets SystemExit and KeyboardInterrupt leave the loop at once. The task that awaits the script's gets it when
    the loop continues; what no task awaits fails the script that began it.
    SIGTERM, SIGHUP and Ctrl-C cancel the command, so that it can roll back and release its locks.
    """
    import asyncio

    async def work() -> int:
        return await start() or 0

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(_report)
        task = loop.create_task(work())
        with _signals.cancelling(lambda: loop.call_soon_threadsafe(task.cancel)):
            while True:
                try:
                    code = loop.run_until_complete(task)
                    break
                except (SystemExit, KeyboardInterrupt) as error:
                    if task.done():
                        raise
                    from migrator.runtime.calling import note_exit

                    note_exit(error)
        _signals.ended(code)
        return code


def _report(loop: "AbstractEventLoop", context: dict[str, Any]) -> None:
    """Report an error that no task received, as asyncio does, unless it is the loss of a connection.

    A driver whose attempt to connect or to cancel a statement is itself cancelled leaves a future behind, and the loss
    of its connection is set on it (asyncpg: TLSUpgradeProto). The command reports what that means for it; a traceback
    on stderr would only hide that.
    """
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)
