"""The user's side: find the server of a folder, or have one started, and keep it for as long as it is used."""

import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from migrator.core.errors import ConfigError, ConnectionFailed, DependencyMissing
from migrator.core.files import explain
from migrator.core.utf8 import is_utf8
from migrator.servers._kind import EXTRA_HINT, Kind
from migrator.servers._state import read_state, serves

_LIMIT = 60.0  # seconds for a server to start, and for one that is stopping to be gone
_PAUSE = 0.02
_ANOTHER_VERSION = re.compile(
    r"initialized by PostgreSQL version|featureCompatibilityVersion|UPGRADE PROBLEM", re.IGNORECASE
)
_KEEPER = "import sys; sys.path.append(sys.argv.pop(1)); from migrator.servers._keeper import main; main()"


class Attached:
    """A use of an embedded server. It lasts until `close`, the end of a `with` block, or the end of the program."""

    def __init__(self, url: str, hold: int) -> None:
        self.url = url
        self._hold: int | None = hold

    def close(self) -> None:
        """Detach; the server stops when nobody else uses it. Further calls do nothing."""
        hold, self._hold = self._hold, None
        if hold is not None:
            os.close(hold)  # never LOCK_UN: in a forked child it would release the parent's hold too

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Attached {self.url.rpartition('@')[2]}{' (closed)' if self._hold is None else ''}>"


def attach(kind: Kind, folder: Path) -> Attached:
    """Return a use of the folder's server, started where there is none. The caller closes it.

    Raises DependencyMissing if it cannot run here, ConfigError if the name of the folder is not UTF-8, ConnectionFailed
    if it did not start within 60 seconds.
    """
    _check(kind)
    if not is_utf8(str(folder.absolute())):
        raise ConfigError(
            f"{folder.absolute()} is not UTF-8, so no embedded server can use it",
            hint="Rename the folder, or give the address of a server in migrator.toml.",
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.resolve()
        hold = os.open(folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:  # often: root was here first
        raise explain(error) or error from error
    limit = time.monotonic() + _LIMIT
    try:
        _share(hold, limit, folder)
        return Attached(_find_or_start(kind, folder, limit), hold)
    except BaseException:
        os.close(hold)
        raise


def _check(kind: Kind) -> None:
    from importlib.util import find_spec

    if sys.platform == "win32":
        raise DependencyMissing("embedded servers run on Linux and macOS only", hint=EXTRA_HINT.partition(", or ")[2])
    if find_spec("psutil") is None:
        raise DependencyMissing("embedded servers need psutil, which is not installed", hint=EXTRA_HINT)
    kind.check()


def _share(hold: int, limit: float, folder: Path) -> None:
    """Become a user; waits while a keeper that found itself alone stops its server."""
    import fcntl

    while time.monotonic() < limit:
        with suppress(BlockingIOError):
            fcntl.flock(hold, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        time.sleep(_PAUSE)
    raise ConnectionFailed(f"the embedded server in {folder} does not stop", hint=f"Read {folder / 'keeper.log'}")


def _find_or_start(kind: Kind, folder: Path, limit: float) -> str:
    """Return the URL of the server, which this use holds already."""
    asked = False
    while time.monotonic() < limit:
        state = read_state(folder)
        if state is not None and serves(state, kind.program, (folder / "store").resolve()):
            return state.url
        key = _take_key(folder)
        if key is None:  # a keeper lives: it is starting its server, or stopping it
            time.sleep(_PAUSE)
            continue
        try:
            if asked:
                raise _failure(kind, folder)
            _start_keeper(kind, folder, key)
            asked = True
        finally:
            os.close(key)
    raise ConnectionFailed(
        f"the embedded {kind.name} server was not ready after {_LIMIT:.0f} seconds",
        hint=f"Read {folder / 'keeper.log'} and {folder / 'server.log'}",
    )


def _take_key(folder: Path) -> int | None:
    """Return the lock that a keeper holds for life, where no keeper lives; the caller closes it."""
    import fcntl

    key = os.open(folder / "keeper", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(key, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(key)
        return None
    return key


def _start_keeper(kind: Kind, folder: Path, key: int) -> None:
    """Start a keeper that holds the key from birth, so that there is no moment in which a second one can start."""
    import subprocess

    home = Path(__file__).parents[2]
    argv = [sys.executable, "-P", "-c", _KEEPER, str(home), kind.name, str(folder), str(key)]
    log = os.open(folder / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        subprocess.run(  # noqa: S603 - ourselves; it returns when the keeper has forked off
            argv,
            check=False,
            cwd="/",
            pass_fds=[key],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=_LIMIT,
        )
    finally:
        os.close(log)


def _failure(kind: Kind, folder: Path) -> DependencyMissing | ConnectionFailed:
    lines = (folder / "keeper.log").read_text(errors="replace").strip().splitlines()
    lacking, _, what = (lines[-1] if lines else "").partition("DependencyMissing: ")
    if what and not lacking:
        return DependencyMissing(what, hint=EXTRA_HINT)
    said = " | ".join(lines[-3:]).removeprefix("Failed: ") or "it said nothing"
    hint = f"Read {folder / 'keeper.log'} and {folder / 'server.log'}"
    if _ANOTHER_VERSION.search(said):
        hint = (
            f"Its data was written by another version. Install that one to keep the data; or remove {folder}, and an "
            "empty server is made there."
        )
    return ConnectionFailed(f"the embedded {kind.name} server did not start: {said}", hint=hint)
