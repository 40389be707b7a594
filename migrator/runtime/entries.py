"""The files of a revisions folder: which of them are revisions, and which were meant to be."""

import os
import stat
from collections.abc import Iterator

from migrator import plugins
from migrator.core.errors import RevisionFileError
from migrator.core.utf8 import is_utf8, readable

HEADS_LOCK = "heads.lock"
"""A file that git sees: two branches that add a child to one parent conflict in it."""

_ALIASES = {".pgsql": ".sql", ".psql": ".sql", ".ddl": ".sql", ".pyw": ".py", ".py3": ".py"}
"""Endings that some programs write, and ours for them."""


def revision_files(folder: str) -> Iterator[str]:
    """Yield the paths of the revisions in a folder and in the folders inside it.

    What begins with a dot or an underscore is left out, and every file of another kind. Raises RevisionFileError for
    one that would be left out though it was meant to be a revision.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "_")) or entry.name == HEADS_LOCK:
                continue
            is_folder = entry.is_dir(follow_symlinks=False)
            if not is_folder and plugins.format_of(os.path.splitext(entry.name)[1]) is None:
                _refuse_near_miss(entry)
                continue
            if not is_utf8(entry.name):
                raise RevisionFileError(
                    "the name is not UTF-8, so the tracker could not keep it",
                    path=readable(entry.path),
                    hint="Rename it; the name of a revision's file has no meaning.",
                )
            if is_folder:
                yield from revision_files(entry.path)
            else:
                yield entry.path


def _refuse_near_miss(entry: "os.DirEntry[str]") -> None:
    path = readable(entry.path)
    if entry.is_symlink() and entry.is_dir():
        raise RevisionFileError(
            "is a link to a folder, whose revisions would be left out",
            path=path,
            hint="Move the files into the folder.",
        )
    stem, suffix = os.path.splitext(entry.name)
    meant = suffix.strip().lower()
    if meant == ".txt":  # added by a program that does not know the ending
        meant = os.path.splitext(stem)[1].lower()
    meant = _ALIASES.get(meant, meant)
    if meant and plugins.format_of(meant) is not None:
        raise RevisionFileError(
            f'ends with "{suffix}", so it would be left out',
            path=path,
            hint=f"Rename it so that it ends with {meant}; if it is not a revision, put an underscore before its name.",
        )


def status_of(path: str, shown: str, real: str) -> os.stat_result:
    """Return the status of a revision's file. Raises RevisionFileError where there is no file to read.

    `shown` is the path for messages, `real` the revisions folder without links.
    """
    target = os.path.realpath(path) if os.path.islink(path) else path
    if target != path and not target.startswith(real + os.sep):
        raise RevisionFileError("leads out of the revisions folder", path=shown, hint="Copy the file into the folder.")
    try:
        found = os.stat(path)
    except OSError as error:
        if not os.path.islink(path):
            raise
        raise RevisionFileError(
            f"is a link to {readable(os.readlink(path))}, which cannot be followed ({error.strerror})",
            path=shown,
            hint="Restore what it leads to, or remove the link.",
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise RevisionFileError("is not a file", path=shown, hint="Remove it, or put an underscore before its name.")
    return found
