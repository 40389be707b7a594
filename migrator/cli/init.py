"""Write a migrator.toml and the revisions folders."""

from pathlib import Path

import click

from migrator.cli._command import Console, declare

_ADDRESS = {"postgres": "${DATABASE_URL:-embedded:postgres}", "mongo": "${MONGODB_URI:-embedded:mongo}"}


@declare(example="migrator init postgres mongo")
@click.argument("kinds", nargs=-1)
async def command(console: Console, *, kinds: tuple[str, ...]) -> None:
    """Start a project here, with a database of each of KINDS: postgres (the default), mongo, or that of a plug-in.

    The addresses come from the environment; without them an embedded server is started.
    """
    from migrator.config import FILE_NAME
    from migrator.core.errors import UsageError

    file = Path(console.config_path or FILE_NAME)
    if file.exists():
        raise UsageError(f"{file} exists already", state="Nothing was changed.", hint="Edit it, or remove it first.")
    chosen = dict.fromkeys(kinds or ("postgres",))
    tables = [f'[databases.{kind}]\nurl = "{_address(kind)}"\n' for kind in chosen]
    folders = ["revisions"] if len(chosen) == 1 else [f"revisions/{kind}" for kind in chosen]
    for folder in folders:
        (file.parent / folder).mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(tables), "utf-8")
    console.print(f"Wrote {file} and {', '.join(folders)}.")
    console.print(f'Next: migrator new -d {next(iter(chosen))} "create users", edit the file, migrator upgrade head')
    console.print_json(lambda: {"config": str(file), "folders": folders, "databases": list(chosen)})


def _address(kind: str) -> str:
    """Return what stands for the address of a new database. Raises UsageError for a kind that nobody knows."""
    from migrator import plugins

    if kind in _ADDRESS:
        return _ADDRESS[kind]
    module = plugins.adapter_of_kind(kind)
    return str(getattr(module, "ADDRESS", f"${{{kind.upper()}_URL:-{module.SCHEMES[0]}://localhost/{kind}}}"))
