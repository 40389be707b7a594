"""The program that owns an embedded server: starts it, waits until nobody uses it, stops it.

Started by `_attach` as `main` with the kind, the folder and the number of the open `keeper` lock. SIGTERM and SIGINT
stop the server at once. What it writes goes to `keeper.log`; its last line says why it failed.
"""

import os
import re
import signal
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from migrator.core.errors import DependencyMissing, MigratorError
from migrator.servers._kind import Kind
from migrator.servers._spawn import start
from migrator.servers._state import (
    STATE_FILE,
    State,
    alive,
    chiefs,
    free_ports,
    listens,
    read_state,
    strays,
    write_state,
    write_whole,
)

if TYPE_CHECKING:
    from subprocess import Popen

_READY_LIMIT = 45.0  # seconds; less than a user waits
_STOP_LIMIT = 15.0
_PAUSE = 0.05
_SERIOUS = re.compile(r"\b(FATAL|PANIC|DETAIL|HINT):\s+")


class _Failed(Exception):
    """The server did not start."""


class _PortTaken(_Failed):
    """Somebody was quicker."""


_stopping = False


def main() -> None:
    """Keep one server until its last user is gone. Ends the program; the exit code is 0 or 1."""
    name, folder, key = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if os.fork():  # an orphan is nobody's zombie, and the user has nothing to reap
        os._exit(0)
    os.set_inheritable(key, False)
    os.umask(0o077)
    _listen_to_signals()
    try:
        _keep(import_module(f"migrator.servers.{name}").KIND, folder)
    except (MigratorError, OSError, _Failed) as error:
        what = "DependencyMissing" if isinstance(error, DependencyMissing) else "Failed"
        sys.stderr.write(f"{what}: {error}\n")
        sys.exit(1)


def _listen_to_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_soon)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _stop_soon(_number: int, _frame: FrameType | None) -> None:
    global _stopping  # noqa: PLW0603 - a signal has no other place to write to
    _stopping = True


def _keep(kind: Kind, folder: Path) -> None:
    users = os.open(folder / "users", os.O_RDWR | os.O_CLOEXEC)  # first: later the name may mean another file
    (folder / STATE_FILE).unlink(missing_ok=True)
    write_whole(folder / ".gitignore", "*\n")  # nobody wants a store and its password in a commit
    store = kind.prepare(folder)
    _stop_strays(kind, store)
    child, port = _launch(kind, folder, store)
    try:
        state = State(kind.url(folder, port), port, child.pid, os.getpid(), time.time())
        _hold(users, child, folder, state)
    finally:
        with suppress(OSError):
            (folder / STATE_FILE).unlink(missing_ok=True)
        _stop(child, kind.stop_signal)


def _hold(users: int, child: "Popen[bytes]", folder: Path, state: State) -> None:
    """Return when nobody uses the server (then nobody can begin to until this program ends), or on a signal.

    Raises OSError where the folder was removed: such a server has lost its store.
    """
    import fcntl

    while not _stopping:
        if read_state(folder) != state:
            write_state(folder, state)
        with suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if child.poll() is not None:
            raise _Failed(f"the server ended by itself, code {child.returncode}")
        time.sleep(_PAUSE)


def _stop_strays(kind: Kind, store: Path) -> None:
    """End what a killed keeper left on the store, found by program and store and not by a pid that may be reused."""
    lock_file = store / kind.lock_file
    if not lock_file.exists() or not lock_file.stat().st_size:
        return
    for number in (kind.stop_signal, signal.SIGKILL):
        found = strays(kind.program, store)
        for pid in chiefs(found) if number is kind.stop_signal else found:
            _send(pid, number)
        if _none_left(kind, store):
            break
    else:
        raise _Failed(f"a {kind.program} of an earlier keeper on {store} does not end")
    if kind.program == "postgres":
        lock_file.unlink(missing_ok=True)  # it would believe a reused pid in there


def _none_left(kind: Kind, store: Path) -> bool:
    limit = time.monotonic() + _STOP_LIMIT
    while any(alive(pid) for pid in strays(kind.program, store)):
        if time.monotonic() > limit:
            return False
        time.sleep(_PAUSE)
    return True


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _launch(kind: Kind, folder: Path, store: Path) -> tuple["Popen[bytes]", int]:
    """Start the server on the port of last time where that is free, else on a random one."""
    for port in free_ports(_last_port(folder)):
        child = _start(kind, folder, store, port)
        try:
            _wait_ready(kind, folder, store, child, port)
        except _PortTaken:
            continue
        except BaseException:
            _stop(child, kind.stop_signal)
            raise
        write_whole(folder / "port", str(port))
        return child, port
    raise _Failed("no free port between 20000 and 32000")


def _last_port(folder: Path) -> int | None:
    try:
        return int((folder / "port").read_text())
    except (OSError, ValueError):
        return None


def _start(kind: Kind, folder: Path, store: Path, port: int) -> "Popen[bytes]":
    argv = kind.command(store, port)
    with (folder / "server.log").open("wb") as log:
        try:
            return start(argv, guise=kind.guise(), die_with=kind.stop_signal, log=log)
        except OSError as error:
            raise DependencyMissing(f"{argv[0]} cannot be run here: {error.strerror}") from error


def _wait_ready(kind: Kind, folder: Path, store: Path, child: "Popen[bytes]", port: int) -> None:
    limit = time.monotonic() + _READY_LIMIT
    kind.load()
    while not (listens(child.pid, port) and kind.ready(store, port)):
        if child.poll() is not None:
            raise _why(kind, child.returncode, (folder / "server.log").read_text(errors="replace"))
        if _stopping or time.monotonic() > limit:
            raise _Failed("stopped while it started" if _stopping else f"not ready after {_READY_LIMIT:.0f} seconds")
        time.sleep(_PAUSE / 5)


def _why(kind: Kind, code: int, log: str) -> Exception:
    if "Address already in use" in log:
        return _PortTaken("the port is taken")
    if lacking := kind.ailment(code, log):
        return DependencyMissing(lacking)
    return _Failed(f"{kind.program} ended with code {code}: {_last_words(log)}")


def _last_words(log: str) -> str:
    """Return why a server ended by itself: the lines of its log with the reason, else the last ones."""
    lines = [line for each in log.strip().splitlines() if (line := _message(each))]
    fatal = [number for number, line in enumerate(lines) if line.startswith("FATAL: ")]
    if not fatal:
        return " ".join(lines[-3:]) or "it said nothing"
    place = fatal[0] if log.startswith("{") else fatal[-1]  # mongod's first is the cause, PostgreSQL's last one
    more = [line for line in lines[place + 1 : place + 3] if line.startswith(("DETAIL: ", "HINT: "))]
    return ". ".join([lines[place], *(line.partition(": ")[2].rstrip(".") for line in more)])


def _message(line: str) -> str:
    """Return a line of a log without its time, as a person reads it; mongod's are JSON. "" for one without content."""
    import json

    if found := _SERIOUS.search(line):
        return f"{'FATAL' if found[1] == 'PANIC' else found[1]}: {line[found.end() :].strip()}"
    try:
        entry = json.loads(line)
        text, attributes = " ".join(entry["msg"].split()), entry.get("attr", {})
    except (ValueError, TypeError, KeyError, AttributeError):
        return line.strip()
    why = next((each for name in ("message", "error", "reason") if (each := attributes.get(name))), "")
    return "" if text.startswith("***") else f"{'FATAL: ' if entry['s'] in 'FE' else ''}{text} {why}".strip()


def _stop(child: "Popen[bytes]", number: signal.Signals) -> None:
    import subprocess

    child.send_signal(number)
    try:
        child.wait(_STOP_LIMIT)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
