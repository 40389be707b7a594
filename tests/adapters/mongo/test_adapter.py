"""The client: opened, shared, refused, looked at."""

import gc
import socket
import subprocess
import sys

import pytest

from migrator.adapters import _shared, mongo
from migrator.adapters.mongo._session import MongoSession
from migrator.core.errors import AuthenticationFailed, ConfigError, ConnectionFailed
from migrator.core.protocols import Adapter
from migrator.core.url import Url
from tests.adapters.mongo._ground import Ground

PASSWORD = "p@ss:w/rd%?#ü"


def _adapter(url: str, connect_timeout: float = 1.0) -> Adapter:
    return mongo.adapter("main", Url.parse(url, "test"), connect_timeout=connect_timeout)


async def test_nobody_answers() -> None:
    """Exit code 4 within the time, and nothing is left open."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    adapter = _adapter(f"mongodb://ann:{PASSWORD}@127.0.0.1:{port}/shop")
    with pytest.raises(ConnectionFailed, match="connect to mongodb://ann@127") as caught:
        async with adapter.session():
            raise AssertionError
    assert (caught.value.exit_code, adapter.status().references, adapter.status().connected) == (4, 0, False)
    assert PASSWORD not in str(caught.value.as_dict()) + repr(adapter.status())
    (finding,) = await adapter.examine()
    assert (finding.level, finding.subject) == ("fail", "connection")
    gc.collect()  # a socket that was left open is told here and not in some later test


async def test_a_wrong_password(ground: Ground) -> None:
    """Exit code 5, at once, and the password is in no message of ours or the driver's."""
    adapter = _adapter(ground.url.replace("127.0.0.1", f"ann:{PASSWORD}@127.0.0.1"), connect_timeout=5.0)
    with pytest.raises(AuthenticationFailed) as caught:
        async with adapter.context():
            raise AssertionError
    assert caught.value.exit_code == 5
    assert "p@ss" not in f"{caught.value.as_dict()}{caught.value.__cause__!r}"


async def test_the_client_is_shared_and_counted(ground: Ground) -> None:
    """The first opens, the last closes, and it may be opened again."""
    adapter = ground.adapter()
    async with adapter.session(), adapter.context() as ctx:
        assert (adapter.status().references, adapter.status().connected) == (2, True)
        await ctx.db.things.insert_one({})
        assert ctx.touched
    assert (adapter.status().references, adapter.status().connected) == (0, False)
    async with adapter.context():
        assert adapter.status().database == ground.name
    await adapter.force_close()


async def test_a_server_that_does_not_answer_the_farewell(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """The client is closed all the same, with its sockets and its monitor, though the farewell is cancelled."""
    monkeypatch.setattr(_shared, "CLOSE_TIMEOUT", 0.1)
    with ground.failing("endSessions", blockConnection=True, blockTimeMS=500):
        async with ground.adapter().context() as ctx:
            await ctx.db.things.insert_one({})
    del ctx
    gc.collect()
    assert [str(each.message) for each in recwarn if each.category is ResourceWarning] == []


def test_an_address_without_a_database() -> None:
    """Said before anything is connected."""
    with pytest.raises(ConfigError) as caught:
        _adapter("mongodb://127.0.0.1")
    assert "mongodb://host/NAME" in caught.value.hint


async def test_an_option_that_is_wrong() -> None:
    """The configuration is blamed, not the connection."""
    with pytest.raises(ConfigError):
        async with _adapter("mongodb://127.0.0.1/shop?w=-5").session():
            raise AssertionError


async def test_what_doctor_says_of_a_replica_set(ground: Ground, session: MongoSession) -> None:
    """Everything is well, and nothing is changed by looking."""
    before = ground.rows()
    found = {each.subject: each for each in await ground.adapter().examine()}
    assert {each.level for each in found.values()} == {"ok"}
    assert set(found) == {"version", "topology", "majority", "privileges", "tracker", "clock"}
    ground.db["script_run_tracker"].drop_index("one_success")
    found = {each.subject: each for each in await ground.adapter().examine()}
    assert (found["tracker"].level, ground.rows()) == ("warn", before)
    ground.db["script_run_lock"].update_one({"_id": "tracker"}, {"$set": {"version": 9}})
    found = {each.subject: each for each in await ground.adapter().examine()}
    assert "knows versions up to 2" in found["tracker"].text


async def test_what_doctor_says_of_a_standalone_server(alone: Ground) -> None:
    """No transactions: a warning with the way out, and no trace in the database."""
    found = {each.subject: each for each in await alone.adapter().examine()}
    assert (found["topology"].level, "--replSet" in found["topology"].hint) == ("warn", True)
    assert alone.db.list_collection_names() == []


def test_the_module_is_cheap() -> None:
    """Importing it, and naming its Context, loads the driver only in the second case."""
    code = (
        "import sys, migrator.adapters.mongo as m; assert not {'pymongo', 'bson', 'asyncio'} & set(sys.modules);"
        "m.Context; assert 'pymongo' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
