"""Fixtures of the MongoDB fault tests; each of their modules names this one in `pytest_plugins`."""

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from migrator.adapters.mongo import _adapter, _changes, _ledger, _lock, _session, _tracker, _work
from migrator.core import failing
from tests.faults.mongo_ground import Ground
from tests.faults.mongo_set import Member, MongoSet, until
from tests.faults.proxy import OP_MSG, Proxy


@pytest.fixture
def ground_at(tmp_path: Path) -> Iterator[Callable[..., Ground]]:
    """Give a maker of grounds on any server; all are closed afterwards."""
    with ExitStack() as stack:

        def make(url: str, *, folder: str = "project", **options: Any) -> Ground:
            made = Ground(url, tmp_path / folder, **options)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def wire(mongo_url: str) -> Iterator[Proxy]:
    """Give a proxy before the set of one member."""
    parts = urlsplit(mongo_url)
    with Proxy(parts.hostname or "", parts.port or 0, OP_MSG) as made:
        yield made


@pytest.fixture
def ground(mongo_url: str, ground_at: Callable[..., Ground]) -> Ground:
    """Give a ground on the set of one member."""
    return ground_at(mongo_url)


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoSet]:
    """Give a replica set of three members."""
    folder = tmp_path_factory.mktemp("three")
    with ExitStack() as stack:
        members = [Member(folder / str(number), "--replSet=rs0") for number in range(3)]
        for member in members:
            stack.callback(member.kill)
            member.start()
        made = MongoSet(members)
        made.begin()
        yield made


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Member]:
    """Give a set of one member that asks for passwords: `root` owns it, `reader` only reads `shop`; both have `pw`."""
    key = tmp_path / "key"
    key.write_text("c2VjcmV0IG9mIHRoZSBzZXQ=")
    key.chmod(0o600)
    member = Member(tmp_path / "guarded", "--replSet=rs0", "--auth", f"--keyFile={key}")
    try:
        member.start()
        with member.client() as client:
            wanted = {"_id": "rs0", "members": [{"_id": 0, "host": member.host}]}
            client.admin.command("replSetInitiate", wanted)
            until(lambda: client.admin.command("hello")["isWritablePrimary"], "it is primary")
            client.admin.command("createUser", "root", pwd="pw", roles=["root"])
        with member.client(username="root", password="pw") as client:
            client.admin.command("createUser", "reader", pwd="pw", roles=[{"role": "read", "db": "shop"}])
        yield member
    finally:
        member.kill()


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Member]:
    """Give a mongod without a replica set."""
    member = Member(tmp_path / "standalone")
    try:
        member.start()
        yield member
    finally:
        member.kill()


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Member]:
    """Give a set of one member that a test may kill."""
    member = Member(tmp_path / "single", "--replSet=rs0")
    try:
        member.start()
        with member.client() as client:
            members = [{"_id": 0, "host": member.host}]
            wanted = {"_id": "rs0", "members": members, "settings": {"electionTimeoutMillis": 1000}}
            client.admin.command("replSetInitiate", wanted)
            until(lambda: client.admin.command("hello")["isWritablePrimary"], "it is primary")
        yield member
    finally:
        member.kill()


@pytest.fixture
def impatient() -> Iterator[Callable[..., AbstractContextManager[None]]]:
    """Give a block in which the program gives up soon, because nobody will come back; its successor is patient."""

    @contextmanager
    def soon(seconds: float = 0.4) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for module in (_adapter, _changes, _ledger, _lock, _session, _tracker, _work):
                for name in ("SHORT", "COMMIT", "ABORT", "RENEWAL", "FAREWELL", "LIMIT", "ELECTION"):
                    if hasattr(module, name):
                        patch.setattr(module, name, seconds)
            patch.setattr(failing, "TRIES", 2)
            yield

    yield soon
    gc.collect()  # now, while warnings of open sockets are expected
