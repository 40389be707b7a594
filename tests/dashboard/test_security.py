"""Who is let in, with what they show, and as whom."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import asyncpg
import httpx2
import pytest
from starlette.requests import Request

from migrator.core.journal import Identity, Role
from migrator.core.passwords import hashed
from migrator.dashboard import _identities
from migrator.dashboard._peers import refuse_strangers
from migrator.dashboard._problems import Refusal
from migrator.serving import Web
from tests._servers import sql, with_database
from tests.acceptance._look import documents
from tests.acceptance._project import Project, until
from tests.dashboard._server import bearer, make_token
from tests.dashboard.conftest import Served

ANN = f'[web.users.ann]\npassword = "{hashed("correct horse")}"\nrole = "operator"\ndatabases = ["main"]\n'
PROXY = """
[web]
trusted_proxies = ["127.0.0.9/32"]
[web.groups]
sre = "operator"
leads = "admin"
all = "viewer"
"""


def who(client: httpx2.Client, url: str, **headers: str) -> tuple[int, str]:
    """Return the status with which somebody is answered, and what the problem says."""
    answer = client.get(f"{url}/api/health", headers=headers)
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json().get("detail", "")


@contextmanager
def at(address: str) -> Iterator[httpx2.Client]:
    """Open a client that calls from another address of this machine."""
    with httpx2.Client(transport=httpx2.HTTPTransport(local_address=address), timeout=30) as client:
        yield client


def test_this_machine_needs_no_word(shop: Project, served: Served, client: httpx2.Client) -> None:
    """While no authentication is set up, whoever asks from here by a name of ours is let in, and nobody else."""
    url = served(shop, '[web]\nhosts = ["migrator.example"]')
    port = url.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "LOCALHOST", f"[::1]:{port}", "migrator.example:80"):
        assert who(client, url, host=host)[0] == 200, host
    for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example", "["):
        assert who(client, url, host=host) == (403, "no authentication is set up, and this asks for another host")
    for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via"):
        status, said = who(client, url, **{name: "127.0.0.1"})
        assert (status, said) == (403, "no authentication is set up, and this came through a proxy")
    assert who(client, url, **bearer("mgr_1_2"))[0] == 401


@pytest.mark.parametrize("peer", ["10.0.0.7", "::ffff:10.0.0.7", "fe80::1", "", "testclient", None])
def test_others_are_refused_without_authentication(peer: str | None) -> None:
    """Whoever asks from another machine, or nobody knows from where, is refused, whatever host they ask for."""
    client = None if peer is None else (peer, 1)
    request = Request({"type": "http", "headers": [(b"host", b"localhost")], "client": client})
    with pytest.raises(Refusal, match="only this machine") as caught:
        refuse_strangers(request, Web(hosts=("localhost",)))
    assert caught.value.status == 403


def test_a_token_shuts_the_others_out(
    shop: Project, served: Served, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first token on everybody has to log in; one that is wrong, revoked or expired is refused."""
    monkeypatch.setattr(_identities, "FRESH", 0.2)
    url = served(shop)
    assert who(client, url)[0] == 200
    text = make_token(shop, "ci", Role.VIEWER)
    until(lambda: who(client, url) == (401, "nobody has said who asks"), "the token is seen", limit=10)
    assert who(client, url, **bearer(text))[0] == 200
    assert who(client, url, authorization=f"bearer {text}")[0] == 200
    assert who(client, url, cookie=f"migrator_token={text}")[0] == 200
    _, token_id, secret = text.split("_", 2)
    for wrong in (
        text[:-1],
        f"{text}x",
        f"mgr_{token_id}_",
        f"mgr_{token_id}",
        f"mgr_x_{secret}",
        f"x_{token_id}_{secret}",
    ):
        assert who(client, url, **bearer(wrong))[0] == 401, wrong
        assert who(client, url, cookie=f"migrator_token={wrong}")[0] == 401, wrong
    expired = make_token(shop, "old", days=1e-9)
    until(lambda: "any more: expired at 20" in who(client, url, **bearer(expired))[1], "it is seen", limit=10)
    assert who(client, url)[0] == 401, "one that expired is no open door"
    shop.good("serve", "token", "revoke", "ci")
    until(lambda: who(client, url, **bearer(text))[0] == 401, "it is revoked", limit=10)
    assert "the token ci does not hold any more: revoked at 20" in who(client, url, **bearer(text))[1]
    assert who(client, url, cookie=f"migrator_token={text}")[0] == 401
    shop.good("serve", "token", "revoke", "old")
    until(lambda: who(client, url)[0] == 200, "there is no token any more", limit=10)


def test_what_a_refusal_says(shop: Project, served: Served, client: httpx2.Client) -> None:
    """A program is told which ways there are; a person is sent to the page where one logs in."""
    make_token(shop, "ci")
    url = served(shop, root_path="/tools/migrator")
    answer = client.get(f"{url}/api/health")
    assert answer.headers["www-authenticate"] == 'Bearer realm="migrator"'
    assert answer.json()["title"] == "Unauthorized"
    assert "migrator serve token add" in answer.json()["hint"]
    page = {"accept": "text/html,*/*"}
    answer = client.get(f"{url}/runs", headers=page)
    assert (answer.status_code, answer.headers["location"]) == (303, "/tools/migrator/login")
    assert client.get(f"{url}/api/health", headers=page).status_code == 401
    assert client.get(f"{url}/scripts/runs", headers=page).status_code == 401
    answer = client.get(f"{url}/runs", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/tools/migrator/login")
    answer = client.get(f"{url}/runs", headers={**page, "sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert 'http-equiv="refresh"' in answer.text, "the strict cookie comes with the second step"
    assert client.get(f"{url}/healthz").status_code == 200
    assert client.get(f"{url}/readyz").status_code == 200


def test_a_token_of_one_database(both: Project, served: Served, client: httpx2.Client) -> None:
    """It sees that database and no other, even an admin's."""
    url = served(both)
    main, every = make_token(both, "main only", Role.ADMIN, "main"), make_token(both, "every")
    until(lambda: who(client, url, **bearer(every))[0] == 200, "the tokens are seen", limit=10)
    for text, seen in ((main, ["main"]), (every, ["main", "events"])):
        health = client.get(f"{url}/api/health", headers=bearer(text)).json()
        assert sorted(health["databases"]) == sorted(seen)
    assert both.run("serve", "token", "add", "x", "--role", "viewer", "-d", "nowhere").exit_code == 3


def test_only_hashes_are_kept(both: Project, postgres_url: str) -> None:
    """No secret is in the database that keeps the tokens, nor in what is listed of them."""
    both.configure(events=both.urls["events"], main=postgres_url)
    made = both.good("serve", "token", "add", "ci", "--role", "operator", "-d", "main", "--days", "2", "--json").json()
    secret = made["secret"].split("_", 2)[2]
    (row,) = documents(both.urls["events"], "script_run_token")
    assert secret not in str(row)
    assert len(row["sha256"]) == 64
    for args in (("list",), ("list", "--json"), ("revoke", "ci", "--json"), ("list", "--json")):
        text = both.good("serve", "token", *args).text
        assert secret not in text
        assert row["sha256"] not in text
        assert "ci" in text
    assert sql(postgres_url, "SELECT to_regclass('script_run_token')")[0][0] is None, "the first database keeps them"


def test_passwords(shop: Project, served: Served, client: httpx2.Client) -> None:
    """A user's name and password are asked for, and nothing else passes."""
    url = served(shop, ANN)
    answer = client.get(f"{url}/api/health")
    assert answer.headers["www-authenticate"] == 'Bearer realm="migrator", Basic realm="migrator", charset="UTF-8"'
    right = httpx2.BasicAuth("ann", "correct horse")
    for _ in range(3):
        assert client.get(f"{url}/api/health", auth=right).status_code == 200
    for name, password in (("ann", "würg"), ("bob", "correct horse")):
        assert client.get(f"{url}/api/health", auth=httpx2.BasicAuth(name, password)).status_code == 401
    for odd in ("Basic", "Basic !!", "Basic /w==", "Digest x", "mgr_1_2"):
        assert who(client, url, authorization=odd)[0] == 401, odd


def test_a_proxy_says_who_asks(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Its headers count from its address only; the best role of the groups holds, and without one nobody enters."""
    url = served(shop, PROXY)
    said = {"x-forwarded-user": "ann@example.org", "x-forwarded-groups": "all, leads,other"}
    assert who(client, url, **said)[0] == 401, "anybody could send that"
    with at("127.0.0.9") as proxy:
        assert who(proxy, url)[0] == 401
        assert who(proxy, url, **said)[0] == 200
        for groups, status in (("all, leads,other", 200), ("sre,all", 403)):
            answer = proxy.get(f"{url}/api/tokens", headers={**said, "x-forwarded-groups": groups})
            assert answer.status_code == status, "only an admin is shown the tokens"
        status, text = who(proxy, url, **{**said, "x-forwarded-groups": "other"})
        assert (status, text) == (403, "ann@example.org is in no group with a role here")
        assert who(proxy, url, **{"x-forwarded-user": "ann"})[0] == 403
        assert who(proxy, url, **{**said, "x-forwarded-user": ""})[0] == 403
        assert who(proxy, url, **{**said, "x-forwarded-user": "x" * 201})[0] == 403
        twice = [("x-forwarded-user", "eve"), *said.items()]
        assert proxy.get(f"{url}/api/health", headers=twice).status_code == 403, "the proxy passes a caller's own on"
        twice = [("x-forwarded-groups", "leads"), *said.items()]
        assert proxy.get(f"{url}/api/health", headers=twice).status_code == 403


def test_a_host_application_says_who_asks(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Whom it does not know has to show a token, also from this machine."""

    def identify(request: Request) -> Identity | None:
        name = request.headers.get("x-session")
        return Identity(name, Role.VIEWER, "host") if name else None

    url = served(shop, identify=identify)
    assert who(client, url, **{"x-session": "ann"})[0] == 200
    assert who(client, url)[0] == 401
    text = make_token(shop, "ci")
    until(lambda: who(client, url, **bearer(text))[0] == 200, "the token is seen", limit=10)


@contextmanager
def away(url: str) -> Iterator[None]:
    """Let nobody into a database."""
    admin, name = with_database(url, "postgres"), url.rpartition("/")[2].partition("?")[0]
    ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    sql(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", ended)
    try:
        yield
    finally:
        sql(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@contextmanager
def holding(url: str, statement: str) -> Iterator[None]:
    """Keep a transaction open that has done something."""
    name = f"holding {id(url)}"
    busy = f"SELECT pid FROM pg_stat_activity WHERE application_name = '{name}' AND wait_event = 'PgSleep'"
    said = (f"SET application_name = '{name}'", "BEGIN", statement, "SELECT pg_sleep(60)")

    def hold() -> None:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            sql(url, *said)

    thread = Thread(target=hold, daemon=True)
    thread.start()
    until(lambda: sql(url, busy), "it holds")
    try:
        yield
    finally:
        sql(url, f"SELECT pg_terminate_backend(pid) FROM ({busy}) AS busy")
        thread.join(20)


def test_nobody_can_tell(shop: Project, served: Served, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database with the tokens is away, a token cannot be checked, and nobody gets in without."""
    text = make_token(shop, "ci")
    url = served(shop, ANN)
    assert who(client, url, **bearer(text))[0] == 200
    with away(shop.urls["main"]):
        until(lambda: who(client, url, **bearer(text))[0] == 503, "the answer is old", limit=20)
        assert "cannot be checked: main keeps them" in who(client, url, **bearer(text))[1]
        assert who(client, url)[0] == 401
        assert client.get(f"{url}/api/health", auth=httpx2.BasicAuth("ann", "correct horse")).status_code == 200
        alone = served(shop)
        assert who(client, alone)[0] == 503, "there may be a token"
        assert who(client, alone, **bearer(text))[0] == 503
        assert client.get(f"{alone}/healthz").status_code == 200
    until(lambda: who(client, url, **bearer(text))[0] == 200, "it is back", limit=20)
    monkeypatch.setattr(_identities, "PATIENCE", 0.2)
    with holding(shop.urls["main"], "LOCK TABLE script_run_token"):
        until(lambda: who(client, url, **bearer(text))[0] == 503, "nobody waits for long", limit=20)


def test_an_open_server_is_not_shut_by_its_database(
    shop: Project, served: Served, client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there was no token, this machine may go on looking, but not change anything."""
    url = served(shop)
    assert who(client, url)[0] == 200
    with away(shop.urls["main"]):
        until(lambda: (who(client, url)[0], "cannot be read" in caplog.text) == (200, True), "it asks again", limit=20)
        assert client.get(f"{url}/api/tokens").status_code == 403, "a viewer"
        refused = client.post(f"{url}/api/upgrade", json={})
        assert refused.status_code == 503
        assert "does not answer" in refused.json()["detail"]
