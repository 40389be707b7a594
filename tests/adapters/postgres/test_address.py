"""Addresses as services and applications have them: drivers, parameters of libpq, services, password files, hosts."""

import asyncio
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from migrator import plugins
from migrator.adapters.postgres._adapter import PostgresAdapter
from migrator.adapters.postgres._address import read
from migrator.adapters.postgres._params import CHOICES, ENVIRONMENT, HARMLESS, HONOURED, IGNORED
from migrator.adapters.postgres._pgfiles import password
from migrator.core.errors import ConfigError, ConnectionFailed
from migrator.core.url import Url
from tests._servers import sql, with_user

LIBPQ = """
host hostaddr port dbname user password passfile require_auth channel_binding connect_timeout client_encoding options
application_name fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count
tcp_user_timeout replication gssencmode sslmode requiressl sslnegotiation sslcompression sslcert sslkey sslkeylogfile
sslpassword sslcertmode sslrootcert sslcrl sslcrldir sslsni requirepeer ssl_min_protocol_version
ssl_max_protocol_version min_protocol_version max_protocol_version krbsrvname gsslib gssdelegation scram_client_key
scram_server_key service servicefile target_session_attrs load_balance_hosts oauth_issuer oauth_client_id
oauth_client_secret oauth_scope
"""
"""Every parameter that libpq 18 documents."""


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take libpq's variables and files of this machine away."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def _adapter(url: str, connect_timeout: float = 5.0) -> PostgresAdapter:
    parsed = Url.parse(url, "test")
    found = plugins.adapter(parsed.scheme).adapter("main", parsed, connect_timeout=connect_timeout)
    assert isinstance(found, PostgresAdapter)
    return found


async def _database(adapter: PostgresAdapter) -> str:
    async with adapter.context() as ctx:
        return str(await ctx.value("SELECT current_database()"))


def _name(url: str) -> str:
    return urlsplit(url).path[1:]


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgres+psycopg", "postgresql+psycopg2"]
)
async def test_the_scheme_of_another_driver(postgres_url: str, scheme: str) -> None:
    """The address of an SQLAlchemy service works as it is."""
    adapter = _adapter(f"  {scheme}:{postgres_url.partition(':')[2]}\n")
    assert await _database(adapter) == _name(postgres_url)


def test_no_parameter_of_libpq_is_forgotten() -> None:
    """Each is honoured, ignored with a reason, or refused unless its value asks for nothing."""
    assert set(LIBPQ.split()) - HONOURED - set(IGNORED) - set(HARMLESS) == {"requiressl"}  # another name of sslmode


@pytest.mark.parametrize(
    "params",
    [
        "connect_timeout=10",
        "keepalives=1&keepalives_idle=30&keepalives_interval=5&keepalives_count=3&tcp_user_timeout=5000",
        "gssencmode=disable&sslmode=prefer&application_name=shop&fallback_application_name=x",
        "channel_binding=require",
        "target_session_attrs=read-write&load_balance_hosts=random",
        "target_session_attrs=prefer-standby",
        "client_encoding=utf8&sslcompression=0&sslsni=1&replication=false&requiressl=0",
        "prepared_statement_cache_size=0&statement_cache_size=0&command_timeout=60&ssl=prefer",
        "hostaddr=127.0.0.1",
    ],
)
async def test_parameters(postgres_url: str, params: str) -> None:
    """A revision's connection opens with every parameter that asks for nothing that cannot be had."""
    assert await _database(_adapter(f"{postgres_url}?{params}")) == _name(postgres_url)


async def test_options_and_settings_reach_the_server(postgres_url: str) -> None:
    """`options` as in libpq, and settings by their names as in asyncpg."""
    adapter = _adapter(f"{postgres_url}?options=-c%20work_mem%3D7MB&search_path=pg_catalog")
    async with adapter.context() as ctx:
        found = await ctx.value("SELECT current_setting('work_mem') || current_setting('search_path')")
    assert found == "7MBpg_catalog"


async def test_ignored_parameters_are_said_by_doctor(postgres_url: str) -> None:
    """With the reason; one that would have made the connection safer is a warning."""
    adapter = _adapter(f"{postgres_url}?application_name=shop&keepalives=1&channel_binding=require")
    found = {each.level: each.text for each in await adapter.examine() if each.subject == "address"}
    assert "application_name" in found["ok"]
    assert "keepalives" in found["ok"]
    assert "channel_binding=require" in found["warn"]


@pytest.mark.parametrize(
    "params",
    [
        "gssencmode=require",
        "require_auth=scram-sha-256",
        "requirepeer=postgres",
        "client_encoding=latin1",
        "replication=database",
        "sslcertmode=require",
        "sslsni=0",
        "sslcrldir=/tmp",
        "scram_client_key=hunter2",
        "oauth_issuer=https://example.com",
        "min_protocol_version=3.2",
        "sslmode=required",
        "sslmod=require",
        "sslMode=require",
        "target_session_attrs=master",
        "connect_timeout=soon",
        "port=0",
        "port=1,2",
        "hostaddr=127.0.0.1&sslmode=verify-full",
        "sslmode=verify-full",
        "sslrootcert=/missing/root.crt",
        "sslcert=/missing/client.crt",
        "service=missing",
    ],
)
async def test_what_is_refused(params: str) -> None:
    """By its name, with exit code 3, before anything connects; the value of a secret is not repeated."""
    named = "root certificate" if params == "sslmode=verify-full" else params.partition("=")[0]
    with pytest.raises(ConfigError) as caught:
        await _database(_adapter(f"postgresql://localhost:1/shop?{params}"))
    said = str(caught.value.as_dict())
    assert named in said
    assert "hunter2" not in said
    assert caught.value.exit_code == 3


async def test_a_parameter_that_the_server_does_not_know(postgres_url: str) -> None:
    """It is named, and it is a matter of configuration."""
    with pytest.raises(ConfigError, match="pgbouncer") as caught:
        await _database(_adapter(f"{postgres_url}?pgbouncer=true&search_path=public"))
    assert caught.value.exit_code == 3


@pytest.fixture
async def folder(postgres_url: str) -> AsyncIterator[str]:
    """Give a folder with a socket that leads to the server; its port is 5432."""
    parts = urlsplit(postgres_url)

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
        target.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    with tempfile.TemporaryDirectory() as made:  # the path of a socket must be short
        async with await asyncio.start_unix_server(forward, f"{made}/.s.PGSQL.5432"):
            yield made


@pytest.mark.parametrize(
    "form", ["{user}%2F@/{name}", "{user}%2f@/{name}", "{user}%2F@:5432/{name}", "{user}/{name}?host=@"]
)
async def test_a_socket(postgres_url: str, folder: str, form: str) -> None:
    """A folder of a socket, escaped in the place of the host or as `host`, leads to the socket there."""
    user, name = postgres_url.partition("://")[2].rpartition("@")[0], _name(postgres_url)
    escaped = folder if "?host=" in form else folder[1:].replace("/", form[6:9])
    text = form.replace("@", escaped).format(user=f"{user}@" if user else "", name=name)
    adapter = _adapter(f"postgresql://{text}")
    assert await _database(adapter) == name
    assert (adapter.status().host, adapter.status().port) == (folder, 5432)


@pytest.fixture
def silent() -> Iterator[int]:
    """Give the port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    """Give a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_several_hosts(postgres_url: str, silent: int, closed: int) -> None:
    """The first is silent, the second refuses, the third is used and named."""
    parts = urlsplit(postgres_url)
    hosts = f"127.0.0.1:{silent},127.0.0.1:{closed},{parts.hostname}:{parts.port}"
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    adapter = _adapter(f"postgresql://{user}{hosts}{parts.path}", connect_timeout=1.0)
    assert await _database(adapter) == _name(postgres_url)
    assert adapter.status().port == parts.port


async def test_several_hosts_of_which_none_answers(silent: int, closed: int) -> None:
    """The reason of each is told, with exit code 4."""
    adapter = _adapter(f"postgresql://127.0.0.1:{silent},127.0.0.1:{closed}/shop", connect_timeout=0.2)
    with pytest.raises(ConnectionFailed) as caught:
        await _database(adapter)
    assert f"127.0.0.1:{silent}: no answer in 0.2 s; 127.0.0.1:{closed}: " in caught.value.message
    assert caught.value.exit_code == 4


async def test_a_host_that_is_a_standby_is_passed(postgres_url: str) -> None:
    """`target_session_attrs=standby` finds none here."""
    with pytest.raises(ConnectionFailed, match="standby"):
        await _database(_adapter(f"{postgres_url}?target_session_attrs=standby"))


async def test_a_service(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By PGSERVICE and PGSERVICEFILE, by `service` in the address, and from the home folder; the address wins."""
    parts = urlsplit(postgres_url)
    lines = [f"host={parts.hostname}", f"port={parts.port}", f"dbname={_name(postgres_url)}"]
    lines += [f"user={parts.username}"] if parts.username else []
    lines += [f"password={parts.password}"] if parts.password else []
    text = "\n".join(["# ours", "[other]", "host=nowhere", "[shop]", *lines, "[last]", "host=nowhere"])
    file = tmp_path / "services"
    file.write_text(text)
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    assert await _database(_adapter("postgresql://?service=shop")) == _name(postgres_url)
    monkeypatch.setenv("PGSERVICE", "shop")
    assert await _database(_adapter("postgresql://")) == _name(postgres_url)
    assert await _database(_adapter("postgresql:///postgres")) == "postgres"
    monkeypatch.delenv("PGSERVICEFILE")
    (tmp_path / ".pg_service.conf").write_text(text)
    assert await _database(_adapter("postgresql://")) == _name(postgres_url)


def test_the_environment_counts_last(tmp_path: Path) -> None:
    """Address, service, environment: each over the next; an address from the environment is not for another host."""
    file = tmp_path / "services"
    file.write_text("[s]\nuser=service\ndbname=service\n")
    environ = {"PGSERVICE": "s", "PGSERVICEFILE": str(file), "PGUSER": "env", "PGDATABASE": "env", "PGPORT": "77"}
    address = read("main", Url.parse("postgresql://h/own", "test"), {**environ, "PGHOSTADDR": "10.0.0.1"})
    (host,) = address.hosts
    assert (host.name, host.port, address.database, host.options["user"]) == ("h", 77, "own", "service")


PASSWORDS = r"""
# a comment
h:5432:shop:ann:simple
h:*:a\:b:ann:with\:colon
h:5433:*:back\\slash:pass\\word:rest
localhost:*:*:*:socket
*:5434:shop:bob:
"""


@pytest.mark.parametrize(
    ("hosts", "port", "database", "user", "found"),
    [
        (("h",), "5432", "shop", "ann", "simple"),
        (("h",), "1", "a:b", "ann", "with:colon"),
        (("h",), "5433", "any", "back\\slash", "pass\\word:rest"),
        (("/tmp", "localhost"), "1", "x", "y", "socket"),
        (("i",), "5434", "shop", "bob", ""),
        (("i",), "5432", "shop", "ann", None),
    ],
)
def test_the_password_file(
    tmp_path: Path, hosts: tuple[str, ...], port: str, database: str, user: str, found: str | None
) -> None:
    """Escaped colons and backslashes are read as libpq reads them."""
    file = tmp_path / "pgpass"
    file.write_text(PASSWORDS)
    file.chmod(0o600)
    assert password(file, hosts, port, database, user) == found
    file.chmod(0o640)
    assert password(file, hosts, port, database, user) is None


async def test_a_password_from_the_file_opens_the_connection(fresh_postgres: Any, tmp_path: Path) -> None:
    """A password with a colon and a backslash, from ~/.pgpass, for a user who needs one."""
    url, secret = fresh_postgres("postgres18"), r"p\a:ss"
    user = f"u_{_name(url)}"
    sql(url, f"CREATE ROLE {user} LOGIN PASSWORD '{secret}'")
    try:
        escaped = secret.replace("\\", r"\\").replace(":", r"\:")
        file = tmp_path / ".pgpass"
        file.write_text(f"*:*:*:{user}:{escaped}\n")
        file.chmod(0o600)
        parsed = Url.parse(with_user(url, user), "test")
        (host,) = read("main", parsed, {"HOME": str(tmp_path)}).hosts
        assert host.options["password"] == secret
        assert await _database(_adapter(with_user(url, user))) == _name(url)
    finally:
        sql(url, f"DROP ROLE {user}")


@pytest.mark.parametrize("name", ["sslrootcert", "sslcert", "sslcrl"])
def test_a_file_that_is_no_certificate(tmp_path: Path, name: str) -> None:
    """The file is named."""
    file = tmp_path / "file.pem"
    file.write_text("nothing")
    with pytest.raises(ConfigError, match=r"file\.pem"):
        _adapter(f"postgresql://h/shop?{name}={file}")


def test_a_key_with_a_password(tmp_path: Path) -> None:
    """It is refused with the parameter that gives the password."""
    file = tmp_path / "client.key"
    file.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    with pytest.raises(ConfigError, match=r"client\.key") as caught:
        _adapter(f"postgresql://h/shop?sslkey={file}")
    assert "sslpassword" in caught.value.hint


def test_the_certificates_of_the_system() -> None:
    """`sslrootcert=system` checks the name of the server, as in libpq."""
    (host,) = read("main", Url.parse("postgresql://h/shop?sslrootcert=system", "test"), {}).hosts
    assert host.options["ssl"].verify_mode is ssl.CERT_REQUIRED
    assert host.options["ssl"].check_hostname
    assert set(CHOICES) <= HONOURED
