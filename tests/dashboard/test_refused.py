"""What is refused before a route is looked for: forged, too large, too often, or not to be understood."""

import logging
import socket
from base64 import b64encode
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import httpx2
import pytest

from migrator.core.passwords import hashed, is_hash, matches
from migrator.dashboard import _attempts
from migrator.dashboard._attempts import Attempts
from migrator.dashboard.security import HEADERS
from tests.acceptance._project import Project, until
from tests.dashboard._server import bearer, make_token
from tests.dashboard.conftest import Served
from tests.dashboard.test_security import ANN, PROXY, at

NOTHING = "/api/there-is-nothing"


def refused(answer: httpx2.Response) -> str:
    """Return what a refusal for another site says, "" where the call came through to the routes."""
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["detail"]) if answer.status_code == 403 else ""


@pytest.mark.parametrize(
    ("headers", "through"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "{url}"}, False),
        ({"sec-fetch-site": "odd"}, False),
        ({"origin": "{url}"}, True),
        ({"origin": "https://MIGRATOR.example"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://localhost"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://["}, False),
        ({"sec-fetch-site": "cross-site", "authorization": "Bearer {token}"}, True),
        ({"sec-fetch-site": "cross-site", "authorization": "Bearer {token}", "cookie": "a=b"}, True),
        ({"sec-fetch-site": "cross-site", "authorization": "Basic YTpi"}, False),
    ],
)
def test_forged_calls(site: tuple[str, str], client: httpx2.Client, headers: dict[str, str], through: bool) -> None:
    """A change that another site lets a browser ask for is refused, by whatever method."""
    url, token = site
    sent = {name: text.replace("{url}", url).replace("{token}", token) for name, text in headers.items()}
    sent = {"cookie": f"migrator_token={token}", **sent} if "authorization" not in sent else sent
    for method in ("POST", "DELETE", "PATCH"):
        said = refused(client.request(method, f"{url}{NOTHING}", headers=sent))
        assert said == ("" if through else "another site asked for this"), method
    assert client.get(f"{url}/healthz", headers=sent).status_code == 200, "looking is no change"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, servers: Any) -> Any:
    """Give the address of one server for all of the calls, and a token for it."""
    from tests._servers import new_name, sql, with_database
    from tests.dashboard._server import running

    server, name = servers.url("postgres18"), new_name()
    sql(server, f"CREATE DATABASE {name}")
    project = Project(tmp_path_factory.mktemp("forged"))
    project.configure(main=with_database(server, name))
    token = make_token(project, "ci")
    with running(project, '[web]\nhosts = ["migrator.example"]') as url:
        yield url, token
    sql(server, f"DROP DATABASE {name} WITH (FORCE)")


def test_large_bodies(shop: Project, served: Served, client: httpx2.Client) -> None:
    """More than a mebibyte is refused, said before or not; and the connection serves the next call."""
    url = served(shop)
    for size, status in ((1024 * 1024, 404), (1024 * 1024 + 1, 413), (10 * 1024 * 1024, 413)):
        whole = b"x" * size
        for sent in (whole, (whole[place : place + 65536] for place in range(0, size, 65536))):
            answer = client.post(f"{url}{NOTHING}", content=sent)
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
    with closing(HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:  # reads when all is sent
        connection.request("POST", NOTHING, b"x" * size, {"connection": "close"})
        assert connection.getresponse().status == 413
    head = b"POST /api HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    assert raw(url, head % 10**19).startswith(b"HTTP/1.1 413 ")


def raw(url: str, head: bytes) -> bytes:
    """Send bytes as they are, and return the answer."""
    host, port = url.removeprefix("http://").split(":")
    with closing(socket.create_connection((host, int(port)), timeout=30)) as connection:
        connection.sendall(head)
        found = b""
        while more := connection.recv(65536):
            found += more
        return found


@pytest.mark.parametrize(
    "line",
    [
        b"authorization: Basic \xff\xfe",
        b"authorization: Bearer mgr_\xff_\xe4",
        b"authorization: " + b"x" * 30000,
        b"cookie: migrator_token=mgr_\xe4_\xff; \xff=\x80; ;=;",
        b"cookie: migrator_token=session_616e6e_1_\xff",
        b"cookie: migrator_token=session_616e6e_1_00",
        b"cookie: migrator_token=session_____",
        b"cookie: " + b"a=b;" * 10000,
        b"x-forwarded-for: \xff, ::::, 1.2.3.4.5",
        b"content-length: 1, 2",
        b"accept: text/html\xff",
        b"origin: \xff",
    ],
)
def test_odd_bytes(site: tuple[str, str], line: bytes) -> None:
    """Whatever stands in a header is answered as anything else, and never a defect."""
    for target in (b"/api/health", b"/api/%00%ff%0a?%ff=%00", b"/api/%2e%2e/%2e%2e/etc/passwd", b"//api/health"):
        for method in (b"GET", b"POST"):
            head = (
                method + b" " + target + b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n" + line + b"\r\n\r\n"
            )
            answer = raw(site[0], head)
            assert answer.split(b" ")[1] in (b"303", b"400", b"401", b"403", b"429"), answer


def test_failed_logins(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Ten wrong passwords, and none is tried for a while from that address; who is in, stays in."""
    url = served(shop, ANN)
    token = make_token(shop, "ci")
    wrong = {"authorization": "Basic " + b64encode(b"ann").decode() + "!"}
    right = httpx2.BasicAuth("ann", "correct horse")
    answers = [client.get(f"{url}/api/health", headers=wrong) for _ in range(12)]
    assert [each.status_code for each in answers] == [401] * 10 + [429] * 2
    assert 0 < int(answers[-1].headers["retry-after"]) <= 61
    assert "too many failed logins from 127.0.0.1" in answers[-1].json()["detail"]
    assert client.get(f"{url}/api/health", auth=right).status_code == 429, "nothing is tried any more"
    assert client.get(f"{url}/api/health", headers=bearer(token)).status_code == 200
    with at("127.0.0.2") as other:
        assert other.get(f"{url}/api/health", headers=wrong).status_code == 401
        assert other.get(f"{url}/api/health", auth=right).status_code == 200
    assert client.get(f"{url}/api/health", auth=right).status_code == 200, "it was right a moment ago"


def test_the_address_behind_a_proxy(
    shop: Project, served: Served, client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A trusted proxy says from where a call comes; what a caller says itself counts for nothing."""
    url = served(shop, PROXY)
    caplog.set_level(logging.INFO, "migrator.web")
    with at("127.0.0.9") as proxy:
        for said in ("10.9.9.9, 10.1.1.1, 127.0.0.9", "10.1.1.1", "::ffff:10.1.1.1"):
            proxy.get(f"{url}/healthz", headers={"x-forwarded-for": said})
            logged(caplog, "10.1.1.1 - GET /healthz 200 in")
            caplog.clear()
        proxy.get(f"{url}/healthz", headers={"x-forwarded-for": "nowhere"})
        logged(caplog, "127.0.0.9 - GET /healthz 200 in")
    client.get(f"{url}/healthz", headers={"x-forwarded-for": "10.1.1.1"})
    logged(caplog, "127.0.0.1 - GET /healthz 200 in")


def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait for a line of the log: it is written when the answer has gone."""
    until(lambda: any(text in each for each in caplog.messages), text, limit=10)


def test_the_log_and_the_headers(
    shop: Project, served: Served, client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call is a line without its query; each answer has the headers, and is not kept by anybody in between."""
    url = served(shop)
    caplog.set_level(logging.INFO, "migrator.web")
    answer = client.get(f"{url}/api/health%0aforged?token=secret-in-a-query", headers={"x-a": "b"})
    logged(caplog, "127.0.0.1 local GET /api/health%0Aforged 404 in")
    assert "secret-in-a-query" not in caplog.text
    for each in (answer, client.get(f"{url}/healthz"), client.get(f"{url}/api/health", headers={"host": "evil"})):
        assert {name: each.headers[name] for name in HEADERS} == HEADERS
        assert each.headers["cache-control"] == "no-store"


def test_a_defect_is_a_problem(
    shop: Project, served: Served, client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the code itself fails, the caller is told so, and the log says where."""

    def broken(_: object) -> None:
        raise ZeroDivisionError("secret detail")

    url = served(shop, identify=broken)
    answer = client.get(f"{url}/api/health")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "secret detail" not in answer.text
    assert "ZeroDivisionError" in caplog.text


def test_attempts_are_counted_by_network() -> None:
    """All of an IPv6 network counts as one address, a mapped one as what it is, and the memory is bounded."""
    attempts = Attempts()
    for number in range(10):
        attempts.failed("token", f"2001:db8::{number}")
        attempts.failed("token", "10.0.0.1")
    assert attempts.wait("token", "2001:db8::ffff") > 0
    assert attempts.wait("token", "2001:db8:0:1::1") == 0
    assert attempts.wait("password", "2001:db8::1") == 0
    assert attempts.wait("token", "10.0.0.1") > 0
    for number in range(_attempts.KEPT):
        attempts.failed("token", f"192.168.{number // 256}.{number % 256}")
    assert attempts.wait("token", "10.0.0.1") == 0


def test_hashed_passwords() -> None:
    """A hash has a salt of its own, takes any text, and a form that is checked before it is used."""
    one, other = hashed("pass: wörd\ud800"), hashed("pass: wörd\ud800")
    assert one != other
    assert matches("pass: wörd\ud800", one)
    assert matches("pass: wörd\ud800", other)
    assert not matches("pass: word", one)
    assert is_hash(one)
    for wrong in ("", "pass", one[:-1], one.replace("32768", "32767"), one.replace("32768", "33554432"), f"{one} "):
        assert not is_hash(wrong), wrong
