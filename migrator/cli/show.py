"""Show one revision in full."""

import click

from migrator.cli._command import Console, declare


@declare(example="migrator show 3f2a")
@click.argument("revision")
@click.option("--stored", is_flag=True, help="Print the text that ran, as the tracker kept it, and nothing else.")
async def command(console: Console, *, revision: str, stored: bool) -> None:
    """Show a REVISION: its state, its constants, its text. Works for revisions whose file is gone."""
    async with console.open() as migrator:
        shown = await migrator.show(revision, console.databases)
    line, header = shown.line, shown.header
    if stored:
        from migrator.core.errors import UsageError

        if not shown.stored:
            raise UsageError(
                f"the tracker keeps no text of {line.revision}", hint="It keeps the text of what was applied."
            )
        console.print(shown.stored, source=True)
    else:
        when = f" at {line.applied_at} by {line.applied_by}" if line.applied_at else ""
        console.print(f"{line.database}:{line.revision}  {line.title}\nstate:   {line.state}{when}")
        console.print(f"after:   {', '.join(line.parents) or 'nothing'}\nfile:    {line.path}")
        console.print(f"has:     {', '.join(sorted(header.functions))}")
        for name, kind, default in shown.params:
            console.print(f"takes:   --{name} {kind}, {f'by default {default}' if default else 'needed'}")
        console.print(f"\n{shown.source or shown.stored}")
    console.print_json(shown.as_dict)
