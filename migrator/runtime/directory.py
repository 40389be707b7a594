"""The revisions folder: files in, revisions out; and scripts, once they are to run."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from migrator import plugins
from migrator.config import Database
from migrator.core.errors import ConfigError, RevisionFileError
from migrator.core.files import explained
from migrator.core.protocols import Capabilities
from migrator.core.revision import Direction, Key, Revision, Script, checksum_of
from migrator.core.run import Edit
from migrator.runtime.entries import HEADS_LOCK, revision_files, status_of

_KNOWN: dict[tuple[str, str], tuple[tuple[str | int, ...], Revision]] = {}
"""The files as they were read last, by database and path, each with what tells that it has changed: a server asks for
thousands of them once a second.
"""


def read(database: Database, root: Path) -> list[Revision]:
    """Return the revisions of one database, in order of their file names. No code of theirs runs.

    Raises ConfigError if the folder is missing, RevisionFileError if a file is not a revision, FileFailed if one
    cannot be read.
    """
    with explained():
        return _read(database, root)


def _read(database: Database, root: Path) -> list[Revision]:
    if not database.revisions.is_dir():
        raise ConfigError(
            f"the revisions folder of {database.name} is missing: {_shown(database.revisions, root)}",
            state="Nothing was changed.",
            hint='`migrator init` makes it, or correct "revisions" in migrator.toml.',
        )
    real = os.path.realpath(database.revisions)
    return [_revision(database.name, path, real, root) for path in sorted(revision_files(str(database.revisions)))]


def load(revision: Revision, capabilities: Capabilities, direction: Direction | None = None) -> Script:
    """Return the revision's functions; this runs the top level of its file.

    Raises RevisionFileError; for a step in a `direction` also where a function that runs in it lacks an `await`.
    """
    suffix = Path(revision.path).suffix
    if suffix == ".sql" and not capabilities.sql:
        raise RevisionFileError(
            f"{revision.database} takes no SQL",
            path=revision.path,
            hint="Write it in Python: `migrator new` makes a file.",
        )
    _refuse_one_transaction(revision)
    script: Script = _format(suffix, revision.path).load(revision.source, revision.path)
    if direction is not None:
        _refuse_forgotten_await(revision, script, direction)
    return script


def _refuse_forgotten_await(revision: Revision, script: Script, direction: Direction) -> None:
    """Raise RevisionFileError for a call without effect. What does not run now is no reason to keep a person here."""
    around = {"setup", "cleanup", direction.value}
    if direction is Direction.UPGRADE:
        around |= {"validate", "verify", "", revision.header.on_failed_verify or ""}
    faults = sorted(fault for name, fault in script.forgotten.items() if name in around)
    if faults:
        line, call = faults[0]
        raise RevisionFileError(
            f"{call}(...) is never awaited, so it would do nothing",
            path=revision.path,
            line=line,
            hint=f"Write `await {call}(...)`.",
        )


def _refuse_one_transaction(revision: Revision) -> None:
    """Raise RevisionFileError where a long change says that it is one transaction: it commits batch by batch."""
    if revision.header.transaction and any(revision.batched(each) for each in Direction):
        lines = revision.source.splitlines()
        raise RevisionFileError(
            "`transaction = True` and ctx.batches cannot both be meant: each batch is a transaction of its own",
            path=revision.path,
            line=next((number for number, line in enumerate(lines, 1) if line.startswith("transaction")), None),
            hint="Remove `transaction = True`; or, for a change that is small enough, the batches.",
        )


def stored(key: Key, path: str, source: str) -> Revision:
    """Return a revision from the text that the tracker kept."""
    header = _format(Path(path).suffix, path).read(source, path)
    return Revision(
        database=key.database, header=header, path=path, source=source, checksum=checksum_of(source), stored=True
    )


def edit_of(revision: Revision, path: str, source: str) -> Edit | None:
    """Return how the file of a revision was edited since its text ran; None if an upgrade would do another thing."""
    suffix = Path(revision.path).suffix
    if not source or Path(path).suffix != suffix:
        return None
    parts = getattr(_format(suffix, revision.path), "parts", None)
    if parts is None:
        return None
    try:
        (before, back_before), (now, back_now) = parts(source), parts(revision.source)
    except (SyntaxError, ValueError, RecursionError, RevisionFileError):
        return None
    if before != now:
        return None
    return Edit.LAYOUT if back_before == back_now else Edit.BACK


def write(database: Database, name: str, text: str, heads: Mapping[str, str]) -> Path:
    """Write a new revision and the heads (id to title) beside it. Returns the path; ConfigError where it exists."""
    path = database.revisions / name
    if path.exists():
        raise ConfigError(f"{path.name} exists already", state="Nothing was changed.", hint="Choose another title.")
    lines = [f"{head}  {title}\n" for head, title in sorted(heads.items())]
    with explained():
        path.write_text(text, "utf-8")
        (database.revisions / HEADS_LOCK).write_text("".join(lines), "utf-8")
    return path


def slug(title: str) -> str:
    """Return a title as the end of a file name."""
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:60] or "revision"


def _revision(database: str, path: str, real: str, root: Path) -> Revision:
    from migrator.formats._text import decode

    shown = _shown(path, root)
    looks = status_of(path, shown, real)
    stamp = (shown, looks.st_ino, looks.st_size, looks.st_mtime_ns, looks.st_ctime_ns)
    before, known = _KNOWN.get((database, path), (None, None))
    if known is not None and before == stamp:
        return known
    with open(path, "rb") as file:
        source = decode(file.read(), shown)
    header = _format(os.path.splitext(path)[1], shown).read(source, shown)
    made = Revision(database=database, header=header, path=shown, source=source, checksum=checksum_of(source))
    _KNOWN[database, path] = stamp, made
    return made


def _shown(path: str | Path, root: Path) -> str:
    """Return a path as a person in the project's folder would type it."""
    text, start = str(path), str(root) + os.sep
    return text.removeprefix(start)


def _format(suffix: str, path: str):  # type: ignore[no-untyped-def] # noqa: ANN202 - a module
    found = plugins.format_of(suffix)
    if found is None:
        raise RevisionFileError("nobody here reads files of this kind", path=path)
    return found
