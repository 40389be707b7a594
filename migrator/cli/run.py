"""Run scripts, by name or by tag."""

from typing import Any

import click

from migrator.cli._command import Console, declare
from migrator.cli._options import DRY_RUN_EXIT, confirm, dry_run, lock_timeout, period, sure


class RunCommand(click.Command):
    """Keeps what stands behind `--` for the scripts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Cut the scripts' own parameters off before click looks."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["migrator.behind"] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])


@declare(cls=RunCommand, example="migrator run refresh_totals --jobs 4 -- --days 30")
@click.argument("names", nargs=-1)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="All scripts with this tag; repeatable.")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter; so is what follows `--`.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="How many run side by side.")
@click.option("--stop-on-error/--keep-going", default=True, help="After a failure, begin no more; or go on.")
@click.option("--force", is_flag=True, help="Run it although it ran once, or an earlier run left something behind.")
@click.option("--timeout", metavar="TIME", callback=period, help="The most that one script may take.")
@dry_run
@lock_timeout
@sure
async def command(console: Console, **options: Any) -> int:
    """Run the scripts NAMES in the order of their depends_on. Ends with the code of the first failure.

    What follows `--` are parameters of the scripts: `-- --days 30 --dry`. `migrator show NAME` lists them.
    """
    from migrator.cli._render import scripts
    from migrator.core.errors import UsageError
    from migrator.runtime.params import parse

    names, tags = options["names"], options["tags"]
    if not names and not tags:
        raise UsageError("which script?", state="Nothing was changed.", hint="`migrator run NAME`, or `--tag TAG`.")
    given = parse(options["params"], click.get_current_context().meta["migrator.behind"])
    async with console.watch(options["lock_timeout"]) as migrator:
        if options["force"]:
            confirm(migrator.config, options["sure"], "run --force")
        outcome = await migrator.run(
            *names,
            tags=tags,
            params=given,
            databases=console.databases,
            jobs=options["jobs"],
            keep_going=not options["stop_on_error"],
            force=options["force"],
            timeout=options["timeout"],
            dry_run=options["dry_run"],
        )
    console.print(scripts(outcome))
    console.print_failures(f"{each.key}: {each.message}" for each in outcome.results if each.error)
    console.print_json(outcome.as_dict)
    return DRY_RUN_EXIT if outcome.dry_run else outcome.exit_code
