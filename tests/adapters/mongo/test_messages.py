"""What the server refuses is told with the names that a person needs, and with advice that helps."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pymongo.write_concern import WriteConcern

from migrator.adapters.mongo._session import MongoSession
from migrator.core.errors import ConfigError, StatementFailed
from tests.adapters.mongo._ground import Ground

SECRET = "hunter2"
Body = Callable[[Any], Awaitable[Any]]


async def _refused(ground: Ground, session: MongoSession, body: Body, *, transactional: bool) -> StatementFailed:
    with pytest.raises(StatementFailed) as caught:
        async with session.step(ground.run(transactional=transactional), timeout=10, databases=ground.none) as ctx:
            await body(ctx.db)
    return caught.value


@pytest.mark.parametrize(
    ("body", "index"),
    [
        (lambda db: db.things.create_index("a", unique=True), "a_1"),
        (lambda db: db.things.create_index("a", name="other"), "a_1"),
        (lambda db: db.things.create_index("z", name="partial"), "partial"),
        (lambda db: db.things.create_index([("b", 1)], name="partial", sparse=True), "partial"),
        (lambda db: db.command("createIndexes", "things", indexes=[{"key": {"z": 1}, "name": "a_1"}]), "a_1"),
        (lambda db: db.command({"createIndexes": "things", "indexes": [{"key": {"z": 1}, "name": "a_1"}]}), "a_1"),
        (lambda db: db.things.drop_index("nope"), "nope"),
    ],
)
async def test_an_index_conflict(ground: Ground, session: MongoSession, body: Body, index: str) -> None:
    """The collection and the index are named; the values of a partial filter are not."""
    ground.db.things.create_index("a")
    ground.db.things.create_index("b", name="partial", partialFilterExpression={"name": SECRET})
    error = await _refused(ground, session, body, transactional=False)
    assert index in error.message
    assert f"{ground.name}.things" in error.message
    assert SECRET not in str(error.as_dict())
    assert "existing index" in error.hint or index == "nope"


@pytest.mark.parametrize(
    "body",
    [
        lambda db: db.capped.insert_one({}),
        lambda db: db.capped.update_many({}, {"$set": {"a": 2}}),
        lambda db: db.capped.delete_many({}),
    ],
)
async def test_a_capped_collection_in_a_transaction(ground: Ground, session: MongoSession, body: Body) -> None:
    """It is named, and the advice holds for a batch as well; outside a transaction the same works."""
    ground.db.create_collection("capped", capped=True, size=4096)
    ground.db.capped.insert_one({"a": 1})
    error = await _refused(ground, session, body, transactional=True)
    assert f"{ground.name}.capped" in error.message
    assert "`transaction = False`, outside of batches" in error.hint
    async with session.step(ground.run(transactional=False), timeout=10, databases=ground.none) as ctx:
        await body(ctx.db)


@pytest.mark.parametrize("wanted", [5, "somewhere"])
async def test_a_write_concern_of_a_script_that_nothing_satisfies(
    ground: Ground, session: MongoSession, wanted: int | str
) -> None:
    """The same command would never succeed, so the advice is to correct the write concern."""
    concern = WriteConcern(wanted)
    error = await _refused(
        ground, session, lambda db: db.things.with_options(write_concern=concern).insert_one({}), transactional=False
    )
    assert "write concern" in error.message
    assert "Correct `w`" in error.hint


async def test_a_write_concern_of_the_address_that_nothing_satisfies(ground: Ground) -> None:
    """Refused when the set is known, before anything is written."""
    ground.url += "?w=5"
    with pytest.raises(ConfigError, match=r"w=5 .* the set has 1 with data"):
        async with ground.adapter().session():
            raise AssertionError
    assert ground.db.list_collection_names() == []


@pytest.mark.parametrize(
    ("tail", "named"),
    [
        ("?foo=1", "unknown option foo"),
        ("?j=true", "unknown option j"),
        ("?sslMode=require", "unknown option sslMode"),
        ("?journal=perhaps", "journal"),
        ("?readConcernLevel=most", "readConcernLevel"),
        ("?tls=true&tlsCAFile=/missing/ca.pem", "tlsCAFile in the address cannot be read: /missing/ca.pem: No such"),
        ("?tls=true&tlsCertificateKeyFile=/missing/key.pem", "tlsCertificateKeyFile"),
        ("?tls=true&tlsCRLFile=/missing/crl.pem", "tlsCRLFile"),
        (".b", "contains '.'"),
        ("%20b", "contains ' '"),
        ("$b", "contains '[$]'"),
        ("b" * 64, "longer than 63 bytes"),
    ],
)
def test_an_address_that_cannot_be_used(ground: Ground, tail: str, named: str) -> None:
    """The option, the file or the character is named, before anything connects."""
    ground.url += tail
    with pytest.raises(ConfigError, match=named) as caught:
        ground.adapter()
    assert caught.value.exit_code == 3
    assert caught.value.state == "Nothing was changed."


@pytest.mark.parametrize("text", ["no certificate at all", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
async def test_a_file_that_is_no_certificate(ground: Ground, tmp_path: Any, text: str) -> None:
    """The file is named, and nothing is asked at the terminal."""
    file = tmp_path / "ca.pem"
    file.write_text(text)
    ground.url += f"?tls=true&tlsCAFile={file}"
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        async with ground.adapter().session():
            raise AssertionError


@pytest.mark.parametrize(
    "line", ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED"]
)
def test_a_client_key_with_a_password(ground: Ground, tmp_path: Any, line: str) -> None:
    """Refused with the option that gives the password: OpenSSL would wait at the terminal."""
    file = tmp_path / "client.pem"
    file.write_text(f"{line}\nAAAA\n")
    ground.url += f"?tls=true&tlsCertificateKeyFile={file}"
    with pytest.raises(ConfigError, match=r"client\.pem") as caught:
        ground.adapter()
    assert "tlsCertificateKeyFilePassword" in caught.value.hint


async def test_options_that_do_not_apply(ground: Ground) -> None:
    """`doctor` lists them with the reason; a compressor that is not installed is left out."""
    ground.url += "?readPreference=secondary&timeoutMS=1&maxPoolSize=1&appName=shop&compressors=snappy,zlib,zstd"
    (found,) = [each for each in await ground.adapter().examine() if each.subject == "address"]
    assert found.level == "ok"
    assert all(name in found.text for name in ("readPreference", "timeoutMS", "maxPoolSize", "appName"))
