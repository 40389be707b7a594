"""`python -m migrator` is the command `migrator`: the process, and the command line in it."""

import sys
from collections.abc import Callable

from migrator import _signals

_signals.install()  # before everything that takes time to import


def main() -> None:
    """Run the command line of this process and exit."""

    def command() -> None:
        from migrator.cli import main

        main()

    run(command)


def run(command: Callable[[], None]) -> None:
    """Run what ends with SystemExit, and exit with its code whatever becomes of the output."""
    from migrator import _output

    _output.install()
    code: int | str | None = 1
    try:
        command()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        _signals.ended(code if isinstance(code, int) else int(code is not None))
        _output.finish()
    sys.exit(code)


if __name__ == "__main__":
    main()
