"""The system's PostgreSQL 15, started and shared like the embedded server, with other programs."""

import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from migrator.core.errors import DependencyMissing
from migrator.servers import _attach, _initdb, postgres

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
_KEEPER = """
import sys
sys.path.append(sys.argv.pop(1))
import tests._postgres15
from migrator.servers._keeper import main
main()
"""


@dataclass(frozen=True)
class _Postgres15(postgres._Postgres):
    name: str = "postgres15"

    def check(self) -> None:
        if not (PROGRAMS / "postgres").exists():
            raise DependencyMissing(f"there is no PostgreSQL 15 in {PROGRAMS}")

    def prepare(self, folder: Path) -> Path:
        return _initdb.prepare(folder, PROGRAMS)

    def command(self, store: Path, port: int) -> list[str]:
        _, *rest = super().command(store, port)
        return [str(_initdb.runnable(PROGRAMS) / "postgres"), *rest]


KIND = _Postgres15()
sys.modules["migrator.servers.postgres15"] = sys.modules[__name__]  # the keeper looks for its kind by this name


def attach(folder: Path) -> _attach.Attached:
    """Return a use of the server of `folder`. The caller closes it. Raises DependencyMissing, ConnectionFailed."""
    with mock.patch.object(_attach, "_KEEPER", _KEEPER):
        return _attach.attach(KIND, folder)
