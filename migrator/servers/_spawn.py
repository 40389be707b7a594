"""Start a program that does not outlive its parent, and, where it must not be root, does not see that it is.

PostgreSQL refuses uid 0. The first choice is a user namespace in which root has another number: the files stay root's
own, so a folder of mode 0700 works and nothing is changed for it. Where namespaces are refused (Docker's default), the
program runs as `nobody`.

PR_SET_PDEATHSIG exists on Linux only. It is sent when the *thread* that started the program ends: call from the main
thread of a program with one thread.
"""

import errno
import os
import sys
import time
from enum import Enum, auto
from functools import cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signal import Signals
    from subprocess import Popen

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_THREAD_LIMIT = 5.0
"""Seconds that a fresh copy of this program waits for threads of its own to end: a namespace is for one thread."""
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "HOME")


class Guise(Enum):
    """As whom a program runs."""

    SELF = auto()
    NAMESPACE = auto()
    NOBODY = auto()


def start(argv: list[str], *, guise: Guise, die_with: "Signals", log: IO[bytes]) -> "Popen[bytes]":
    """Start `argv` with a bare environment; on Linux it gets `die_with` when this program ends. The caller reaps it.

    Raises OSError where the file cannot be run.
    """
    import subprocess

    _libc()
    before = partial(_before_exec, guise, int(die_with), os.getpid())
    who: dict[str, Any] = {}
    if guise is Guise.NOBODY:
        uid, gid = nobody()
        who = {"user": uid, "group": gid, "extra_groups": []}
    return subprocess.Popen(  # noqa: S603 - our own binaries
        argv,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        umask=0o077,
        env=bare_environment(),
        preexec_fn=before,  # noqa: PLW1509 - the keeper has one thread
        **who,
    )


def bare_environment() -> dict[str, str]:
    """Return an environment without PG* settings, without secrets, and with messages in English."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


@cache
def guise_of_a_commoner() -> Guise:
    """Return how to run a program that refuses uid 0 and wants an entry in the list of users."""
    if os.geteuid() != 0 and _known(os.geteuid()):
        return Guise.SELF
    if _namespace_works():
        return Guise.NAMESPACE
    return Guise.NOBODY if os.geteuid() == 0 else Guise.SELF


@cache
def nobody() -> tuple[int, int]:
    """Return the uid and gid of `nobody`, or of any user but root where the system has no such name."""
    import pwd

    users = [user for user in pwd.getpwall() if user.pw_uid != 0]
    users.sort(key=lambda user: user.pw_name != "nobody")
    return (users[0].pw_uid, users[0].pw_gid) if users else (65534, 65534)


def _known(uid: int) -> bool:
    import pwd

    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _namespace_works() -> bool:
    if sys.platform != "linux":
        return False
    _libc()
    nobody()
    pid = os.fork()
    if pid == 0:
        try:
            _enter_namespace()
        except BaseException:  # noqa: BLE001 - nothing of this copy may run on
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def _before_exec(guise: Guise, die_with: int, parent: int) -> None:
    if guise is Guise.NAMESPACE:
        _enter_namespace()
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, die_with, 0, 0, 0)  # last: a change of user would clear it
        if os.getppid() != parent:
            os._exit(1)


def _enter_namespace() -> None:
    (uid, gid), outer_uid, outer_gid = nobody(), os.geteuid(), os.getegid()
    limit = time.monotonic() + _THREAD_LIMIT
    while _libc().unshare(_CLONE_NEWUSER) != 0:
        if _errno() != errno.EINVAL or time.monotonic() > limit:
            raise OSError("unshare")
        time.sleep(0.001)  # a library's hook for forks had a thread in this copy, which is ending (OpenTelemetry's)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        Path("/proc/self", name).write_text(text)


def _errno() -> int:
    import ctypes

    return ctypes.get_errno()


@cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)
