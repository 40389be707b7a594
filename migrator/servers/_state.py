"""Where the server is, in `server.json`; and whether that is still true."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATE_FILE = "server.json"
_RANGE = range(20_000, 32_000)  # below the ephemeral ports, where a client's socket can be in the way
_ATTEMPTS = 20


@dataclass(frozen=True)
class State:
    """A server that is ready. `started` is in seconds since the epoch and only there for people."""

    url: str
    port: int
    pid: int
    keeper: int
    started: float


def write_whole(path: Path, text: str) -> None:
    """Write a file that nobody else may read, and that is never seen half written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def write_state(folder: Path, state: State) -> None:
    """Publish the server."""
    import json
    from dataclasses import asdict

    write_whole(folder / STATE_FILE, json.dumps(asdict(state)))


def read_state(folder: Path) -> State | None:
    """Return what the last keeper published, which may be out of date; None where there is nothing to read."""
    import json

    try:
        return State(**json.loads((folder / STATE_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def serves(state: State, program: str, store: Path) -> bool:
    """Say whether the server is alive and ours: its program, its store, its keeper (not orphaned) and its port."""
    psutil = _psutil()
    try:
        one = psutil.Process(state.pid)
        ours = one.name() == program and one.ppid() == state.keeper and str(store) in one.cmdline()
        # A keeper with threads stays the parent for a moment after it has died, while its server is being ended.
        return ours and alive(state.keeper) and _listens(one, state.port)
    except (psutil.Error, OSError):
        return False


def listens(pid: int, port: int) -> bool:
    """Say whether that pid listens on that port; False where it is gone or belongs to somebody else."""
    psutil = _psutil()
    try:
        return _listens(psutil.Process(pid), port)
    except (psutil.Error, OSError):
        return False


def _psutil() -> Any:
    from importlib import import_module  # 20 ms, and it has no types

    return import_module("psutil")


def _listens(one: Any, port: int) -> bool:
    return any(link.status == "LISTEN" and link.laddr.port == port for link in one.net_connections("tcp4"))


def strays(program: str, store: Path) -> list[int]:
    """Return the pids of the program that still run on the store, whoever their parent is, the oldest first."""
    psutil = _psutil()
    found = [one for one in psutil.process_iter() if _on_store(one, program, str(store))]
    return [one.pid for one in sorted(found, key=lambda one: one.pid)]


def chiefs(pids: list[int]) -> list[int]:
    """Return those that none of the others started.

    The stop signal is for them: to a child of a PostgreSQL it means something else, and the server ends in disorder.
    """
    psutil = _psutil()
    found = []
    for pid in pids:
        with suppress(psutil.Error, OSError):
            if psutil.Process(pid).ppid() not in pids:
                found.append(pid)
    return found


def _on_store(one: Any, program: str, store: str) -> bool:
    psutil = _psutil()
    with suppress(psutil.Error, OSError):
        return bool(one.name() == program and (store in one.cmdline() or one.cwd() == store))
    return False


def alive(pid: int) -> bool:
    """Say whether the pid runs; a zombie does not."""
    psutil = _psutil()
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def free_ports(preferred: int | None) -> Iterator[int]:
    """Yield ports of 127.0.0.1 that are free at this moment: the preferred one first, then random ones."""
    import random

    if preferred is not None and _is_free(preferred):
        yield preferred
    for port in random.sample(_RANGE, _ATTEMPTS):
        if _is_free(port):
            yield port


def _is_free(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: old connections do not count
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True
