"""Make PostgreSQL's store, whole or not at all; and, where root must become `nobody`, put things where that may read.

`store` is then a link from the folder (mode 0700, root's) to a folder of nobody's own below the temporary one. Without
the link, or without what it leads to, a new store is made.
"""

import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from migrator.core.errors import ConnectionFailed, DependencyMissing
from migrator.servers._spawn import Guise, guise_of_a_commoner, nobody, start
from migrator.servers._state import write_whole

_LIMIT = 40.0  # seconds


def prepare(folder: Path, programs: Path) -> Path:
    """Return the store of `folder`, made where there is none. Raises ConnectionFailed with what initdb said."""
    store = folder / "store"
    if (store / "PG_VERSION").exists():
        if not (folder / "password").exists():
            raise ConnectionFailed(f"{folder / 'password'} is gone, and with it the way in; remove {folder}")
        return store.resolve()
    _write_password(folder / "password")
    return _make(folder, runnable(programs))


def _write_password(path: Path) -> None:
    import secrets

    write_whole(path, secrets.token_urlsafe(24))


def _make(folder: Path, programs: Path) -> Path:
    """Make the store under another name, so that what a killed initdb leaves is never taken for one."""
    place = _outside() if guise_of_a_commoner() is Guise.NOBODY else folder
    _sweep(place)
    draft, password = place / f"store.new.{os.getpid()}", place / f"password.new.{os.getpid()}"
    draft.mkdir(mode=0o700)
    write_whole(password, (folder / "password").read_text())
    try:
        _give_away(draft, password)
        _initdb(folder, [str(programs / "initdb"), "-D", str(draft), f"--pwfile={password}"])
    finally:
        password.unlink()
    store = draft.rename(place / "store")
    if place != folder:
        _link(folder / "store", store)
    return store.resolve()


def _sweep(place: Path) -> None:
    """Remove what a killed initdb left. It may still be tidying up itself, so every draft has a name of its own."""
    for left in place.glob("*.new.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _link(link: Path, store: Path) -> None:
    draft = link.with_name("store.link")
    draft.unlink(missing_ok=True)
    draft.symlink_to(store)
    draft.replace(link)


def _initdb(folder: Path, argv: list[str]) -> None:
    import subprocess

    locale = "C.UTF-8" if sys.platform == "linux" else "C"
    argv = [*argv, "-U", "postgres", "-A", "scram-sha-256", "--no-sync", f"--locale={locale}", "--encoding=UTF8"]
    with (folder / "initdb.log").open("wb") as log:
        try:
            child = start(argv, guise=guise_of_a_commoner(), die_with=signal.SIGTERM, log=log)
        except OSError as error:
            raise DependencyMissing(f"{argv[0]} cannot be run here: {error.strerror}") from error
        try:
            code = child.wait(_LIMIT)
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
    if code != 0:
        lines = (folder / "initdb.log").read_text(errors="replace").strip().splitlines()
        said = [line for line in lines if "error:" in line or "FATAL:" in line][-3:] or lines[-3:]
        raise ConnectionFailed(f"initdb ended with code {code}: {' | '.join(said)}")


def _outside() -> Path:
    """Make a folder that `nobody` can pass through. It outlives the project's folder; the system cleans it up."""
    place = Path(tempfile.mkdtemp(prefix="migrator-postgres-"))
    place.chmod(0o711)
    return place


def _give_away(*paths: Path) -> None:
    if guise_of_a_commoner() is Guise.NOBODY:
        for path in paths:
            os.chown(path, *nobody())


@cache
def runnable(programs: Path) -> Path:
    """Return a folder with the same programs in which the user who is to run them can do so."""
    if guise_of_a_commoner() is not Guise.NOBODY or _runs(programs / "postgres"):
        return programs
    return _copied(programs.parent) / programs.name


def _runs(program: Path) -> bool:
    with Path(os.devnull).open("wb") as log:
        try:
            child = start([str(program), "--version"], guise=Guise.NOBODY, die_with=signal.SIGTERM, log=log)
        except OSError:
            return False
        return child.wait() == 0


def _copied(source: Path) -> Path:
    """Return a copy that everybody may read, made once for each version of the source."""
    from hashlib import sha256

    stamp = f"{source}:{(source / 'bin' / 'postgres').stat().st_mtime_ns}"
    copy = Path(tempfile.gettempdir(), f"migrator-postgres-{sha256(stamp.encode()).hexdigest()[:16]}")
    if not copy.exists():
        draft = _outside()
        for part in _parts(source):
            shutil.copytree(part, draft / "copy" / part.relative_to(source.parents[1]), symlinks=True)
        _open_to_all(draft / "copy")
        with suppress(OSError):  # somebody else was quicker
            (draft / "copy").rename(copy)
        shutil.rmtree(draft)
    if copy.is_symlink() or copy.stat().st_uid != os.geteuid():
        raise ConnectionFailed(f"{copy} belongs to somebody else", hint="Remove it, or set TMPDIR.")
    return copy / source.relative_to(source.parents[1])


def _parts(source: Path) -> list[Path]:
    """Return what the programs need: their own tree, and the libraries that a wheel keeps beside the package."""
    libraries = source.parents[1] / f"{source.parent.name}.libs"
    return [source, libraries] if libraries.is_dir() else [source]


def _open_to_all(top: Path) -> None:
    for place, _, names in os.walk(top):
        Path(place).chmod(0o755)
        for path in (Path(place, name) for name in names):
            if not path.is_symlink():
                path.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
