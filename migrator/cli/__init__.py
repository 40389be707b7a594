"""ASKS: the command line. One module for each command, imported when it is called; `--help` reads their first lines."""

import os
import sys

import click

_FOLDER = os.path.dirname(__file__)


class Commands(click.Group):
    """The commands are the public modules of this folder."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, sorted."""
        del ctx
        return sorted(name[:-3] for name in os.listdir(_FOLDER) if name.endswith(".py") and name[0] != "_")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None where there is none of that name."""
        if cmd_name not in self.list_commands(ctx):
            return _of_others(cmd_name)
        from importlib import import_module

        command: click.Command = import_module(f"migrator.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Look a command up, with did-you-mean."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-") and _of_others(args[0]) is None:
            from difflib import get_close_matches

            near = get_close_matches(args[0], known, n=1)
            raise click.UsageError(
                f"there is no command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else "")
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with the first line of each module, which is not imported for it."""
        rows = [(name, _first_line(name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _of_others(name: str) -> click.Command | None:
    """Return a command of another distribution, None where there is none of that name."""
    from migrator import plugins
    from migrator.core.errors import MigratorError

    try:
        found: click.Command | None = plugins.command(name)
    except MigratorError as error:
        raise click.UsageError(f"{error.message}. {error.hint}") from error
    return found


def _first_line(name: str) -> str:
    with open(os.path.join(_FOLDER, f"{name}.py"), encoding="utf-8") as file:
        return file.readline().strip().strip('"').rstrip(".")


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from migrator import __version__

        click.echo(f"migrator {__version__}")
        ctx.exit()


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 a script failed, 2 dependency, 3 usage, 4 connection, 5 permission, 10 dry run, "
    "11 something is pending, 12 lock, 13 verify failed, 14 unknown outcome, 15 drift, 130 stopped.",
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show it.")
def group() -> None:
    """Versioned, verified changes for PostgreSQL and MongoDB."""


def _refuse_odd_words(words: list[str]) -> None:
    """Raise UsageError for an argument that is not UTF-8: no database, log or JSON document could hold it."""
    for number, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"argument {number} ({word!a}) is not UTF-8") from None


def main() -> None:
    """Run the command line. A wrong option or argument ends with 3, as every wrong usage does."""
    try:
        _refuse_odd_words(sys.argv[1:])
        group(standalone_mode=False)
    except click.exceptions.Exit as error:
        raise SystemExit(error.exit_code) from None
    except click.Abort:
        raise SystemExit(130) from None
    except click.ClickException as error:
        from migrator.cli._errors import show_usage

        raise SystemExit(show_usage(error)) from None
