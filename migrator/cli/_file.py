"""A revision file as a program: `python revisions/3f2a_add_email.py [run | rollback | status] [--force]`."""

import sys
from pathlib import Path

USAGE = "usage: python {name} [run | rollback | status] [--force]"


def run_cli(file: str) -> None:
    """Run (which is the default), take back, or show the revision in this file, as the command line says, and exit.

    Write `if __name__ == "__main__": run_cli(__file__)` at its end. The nearest migrator.toml above it is read.
    """
    from migrator.__main__ import run
    from migrator.cli import main
    from migrator.cli._errors import show
    from migrator.core.errors import MigratorError
    from migrator.core.secrets import Mask

    path = Path(file).resolve()
    words = [word for word in sys.argv[1:] if word != "--force"]
    force = ["--force"] * (len(words) < len(sys.argv[1:]))
    words = words or ["run"]
    if len(words) != 1 or words[0] not in ("run", "rollback", "status"):
        sys.stderr.write(USAGE.format(name=path.name) + "\n")
        raise SystemExit(3)
    try:
        config, database, revision, is_script = _found(path)
    except MigratorError as error:
        raise SystemExit(show(error, mask=Mask(()), as_json=False, debug=False)) from None
    name = f"{database}:{revision}"
    commands = {
        "run": ["run", name, *force] if is_script else ["upgrade", name, *force],
        "rollback": ["downgrade", name if is_script else f"{name}-1"],
        "status": ["show", name],
    }
    sys.argv[1:] = [*commands[words[0]], "--config", str(config)]
    run(main)


def _found(path: Path) -> tuple[Path, str, str, bool]:
    """Return the configuration, the database, and the id of a revision file, and whether it is a script."""
    from migrator.config import FILE_NAME, load
    from migrator.core.errors import UsageError
    from migrator.runtime import directory

    config = next((each / FILE_NAME for each in path.parents if (each / FILE_NAME).exists()), None)
    if config is None:
        raise UsageError(f"there is no {FILE_NAME} above {path}", hint="`migrator init` writes one.")
    loaded = load(str(config))
    for database in loaded.databases.values():
        if path.is_relative_to(database.revisions.resolve()):
            for each in directory.read(database, loaded.root):
                if (loaded.root / each.path).resolve() == path:
                    return config, database.name, each.id, each.header.is_script
    raise UsageError(f"{path} is in no revisions folder of {config}")
