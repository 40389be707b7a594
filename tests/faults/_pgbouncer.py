"""A pgbouncer before a server, with the distribution's defaults. It ends with the block."""

import os
import shutil
import signal
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from migrator.servers._spawn import Guise, guise_of_a_commoner, nobody, start
from tests.faults.deployer import until

PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")
"""Where it may be though the PATH does not say so."""


class Pooler:
    """One pgbouncer before all databases of one server. `size` is how many connections it opens to each of them, `mode`
    its pool_mode.
    """

    def __init__(self, server: str, *, size: int = 8, mode: str = "transaction") -> None:
        path = os.pathsep.join([os.environ.get("PATH", ""), *PLACES])
        self._program = shutil.which("pgbouncer", path=path) or ""
        assert self._program, "pgbouncer is not installed; .ci/run installs it"
        self._server = urlsplit(server)
        self._size = size
        self._mode = mode
        self._folder = Path(tempfile.mkdtemp(prefix="migrator-pgbouncer-"))  # nobody can pass through pytest's
        self._running: Any = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def __enter__(self) -> Self:
        self._configure()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def url(self, url: str) -> str:
        """Return a server's address as it is through the pooler."""
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=f"postgres@127.0.0.1:{self.port}"))

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        argv = [self._program, str(self._folder / "pgbouncer.ini")]
        with (self._folder / "log").open("ab") as log:
            self._running = start(argv, guise=guise_of_a_commoner(), die_with=signal.SIGKILL, log=log)
        until(lambda: self._running.poll() is not None or self._listens(), "the pooler is ready", 10, 0.01)
        assert self._running.poll() is None, (self._folder / "log").read_text()

    def kill(self) -> None:
        """Kill it: all connections through it are gone."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def _configure(self) -> None:
        server = self._server
        path = self._folder / "pgbouncer.ini"
        password = unquote(server.password or "")
        lines = [
            "[databases]",
            f"* = host={server.hostname} port={server.port} user={server.username} password={password}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = any",
            f"pool_mode = {self._mode}",
            f"default_pool_size = {self._size}",
            "server_round_robin = 1",  # each transaction meets another session than the last
            "max_client_conn = 200",
            "server_login_retry = 1",  # seconds; 15 would make every restart of the server a long one
        ]
        self._folder.chmod(0o711)
        path.write_text("\n".join(lines) + "\n")
        if guise_of_a_commoner() is Guise.NOBODY:
            os.chown(path, *nobody())
