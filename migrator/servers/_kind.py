"""What the shared parts ask of a kind of server."""

from pathlib import Path
from signal import Signals
from typing import Protocol

from migrator.servers._spawn import Guise

EXTRA_HINT = (
    "pip install -e '.[embedded]' in the checkout, or set a URL in migrator.toml, "
    "or docker compose -f docker/compose.yml up -d"
)


class Kind(Protocol):
    """One kind of server: what to run, how to see that it is ready, how to stop it."""

    @property
    def name(self) -> str:
        """Return the module's name below `migrator.servers`."""

    @property
    def program(self) -> str:
        """Return the name of the server's program."""

    @property
    def stop_signal(self) -> Signals:
        """Return the signal that ends the server in an orderly way and quickly."""

    @property
    def lock_file(self) -> str:
        """Return the file in the store that is not empty while a server runs, and after one was killed."""

    def check(self) -> None:
        """Raise DependencyMissing where this kind cannot run here."""

    def guise(self) -> Guise:
        """Return as whom the server runs."""

    def prepare(self, folder: Path) -> Path:
        """Return the store (the server's own folder) below `folder`, made at the first call, whole or not at all."""

    def command(self, store: Path, port: int) -> list[str]:
        """Return the command line that serves `store` on 127.0.0.1."""

    def load(self) -> None:
        """Import what `ready` needs, while the server starts."""

    def ready(self, store: Path, port: int) -> bool:
        """Say whether the server, which listens already, takes work."""

    def url(self, folder: Path, port: int) -> str:
        """Return the URL, with the password."""

    def ailment(self, code: int, log: str) -> str:
        """Return what the machine lacks if a server that ended with `code` and `log` shows it, else ""."""
