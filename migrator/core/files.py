"""What it means that a file or folder cannot be read or written: who may do what, and as whom this process runs.

The one part of the core that asks the file system, and only after something failed.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migrator.core.errors import FileDenied, FileFailed

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def explained() -> Iterator[None]:
    """Raise an OSError about a path in this block as FileFailed or FileDenied."""
    try:
        yield
    except OSError as error:
        known = explain(error)
        if known is None:
            raise
        raise known from error


def explain(error: OSError) -> FileFailed | None:
    """Return what an OSError about a path means, None for one about something else."""
    reason = error.strerror or type(error).__name__
    if error.filename is None or isinstance(error.filename, int):
        return _explain_folder(reason) if isinstance(error, FileNotFoundError) else None
    path = os.fsdecode(error.filename)
    if error.errno in _DENIED:
        return FileDenied(f"{path}: {reason}; {_owner(path)}, {_we()}", state="", hint=_way_out(error.errno, path))
    hint = "Make room on that disk, then run the command again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return FileFailed(f"{path}: {reason}", state="", hint=hint)


def _explain_folder(reason: str) -> FileFailed | None:
    """Return what it means where the working folder was deleted, which an OSError does not name."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return FileFailed(
            f"the current folder does not exist any more: {reason}",
            state="Nothing was changed.",
            hint="Change to a folder that exists (`cd`), then run the command again.",
        )
    return None


def _owner(path: str) -> str:
    """Return whose the path is, or the nearest folder above it that can be looked at."""
    try:
        found = Path(path).stat()
    except OSError:
        above = str(Path(path).absolute().parent)
        return _owner(above) if above != path else "nothing is known of its owner"
    kind = "the folder" if stat.S_ISDIR(found.st_mode) else "the file"
    return f"{kind} {path} belongs to uid {found.st_uid} gid {found.st_gid} with mode {stat.S_IMODE(found.st_mode):04o}"


def _we() -> str:
    return f"and this process has uid {os.geteuid()} gid {os.getegid()}"


def _way_out(number: int | None, path: str) -> str:
    if number == errno.EROFS:
        return "The file system is mounted read-only: mount a volume there, or choose another folder."
    return f"Give this user the right (`chown` or `chmod` of {path}), or run the command as its owner."
