"""Write a new revision file."""

import click

from migrator.cli._command import Console, declare


@declare(example='migrator new -d main "add email"')
@click.argument("title")
@click.option("--sql", is_flag=True, help="Write plain SQL instead of Python.")
@click.option(
    "--head", "heads", multiple=True, metavar="ID", help="The parent; several make a revision that joins them."
)
@click.option("--label", help="Begin a branch of this name: the only way to a second head.")
async def command(console: Console, *, title: str, sql: bool, heads: tuple[str, ...], label: str | None) -> None:
    """Write a file for a revision called TITLE, after the head of its database."""
    from migrator.runtime.creating import create

    config = console.config()
    path = create(config, title, databases=console.databases, sql=sql, heads=heads, label=label or "")
    console.print(f"Wrote {path}. Edit it, then: migrator upgrade head")
    console.print_json(lambda: {"path": path})
