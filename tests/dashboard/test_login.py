"""Logging in on the page: with a token, or a name and a password; and out."""

import re
from http.cookies import SimpleCookie

import httpx2

from migrator.core.journal import Role
from tests.acceptance._project import Project
from tests.dashboard._server import make_token
from tests.dashboard.conftest import Served
from tests.dashboard.test_security import ANN, PROXY, at, who

PAGE = {"accept": "text/html"}


def cookie(answer: httpx2.Response) -> SimpleCookie:
    """Return the cookie that an answer sets."""
    return SimpleCookie(answer.headers["set-cookie"])


def test_with_a_token(shop: Project, served: Served, client: httpx2.Client) -> None:
    """The form takes a token, the browser keeps it out of everybody's reach, and forgets it again."""
    text = make_token(shop, "ann", Role.VIEWER)
    url = served(shop, root_path="/tools")
    form = client.get(f"{url}/login", headers=PAGE)
    assert (form.status_code, form.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert 'action="/tools/login"' in form.text
    answer = client.post(f"{url}/login", data={"token": f" {text}\n"}, headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/tools/")
    kept = cookie(answer)["migrator_token"]
    assert (kept.value, kept["path"], kept["samesite"], kept["httponly"]) == (text, "/tools", "strict", True)
    assert (kept["secure"], kept["domain"], kept["max-age"]) == ("", "", "43200")
    assert client.get(f"{url}/", headers=PAGE).status_code == 200, "the client has sent it"
    answer = client.post(f"{url}/logout", headers={**PAGE, "origin": url.removesuffix("/tools")})
    assert (answer.status_code, answer.headers["location"]) == (303, "/tools/login")
    assert cookie(answer)["migrator_token"]["max-age"] == "0"
    assert client.get(f"{url}/", headers=PAGE).status_code == 303


def test_with_a_password(shop: Project, served: Served, client: httpx2.Client) -> None:
    """The password is not in the cookie, which stands for the user with their role and databases."""
    url = served(shop, ANN)
    assert client.get(f"{url}/", headers=PAGE).headers["location"] == "/login"
    answer = client.post(f"{url}/login", data={"name": "ann", "password": "correct horse"}, headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "horse" not in answer.headers["set-cookie"]
    assert who(client, url) == (200, "")
    assert client.post(f"{url}/api/tokens", json={"name": "x", "role": "admin"}).status_code == 403


def test_what_is_not_let_in(shop: Project, served: Served, client: httpx2.Client) -> None:
    """The form says what is wrong and repeats no secret; it is counted; and no other site can log anybody in."""
    token = make_token(shop, "ann")
    url = served(shop, ANN)
    assert client.post(f"{url}/login", data={"token": token}, headers={"origin": "http://evil"}).status_code == 403
    for sent in (
        {},
        {"token": f"{token}x"},
        {"name": "ann", "password": "geheim"},
        {"name": "<evil>", "password": "\0"},
    ):
        answer = client.post(f"{url}/login", data=sent, headers=PAGE)
        assert answer.status_code == 401, answer.text
        assert "set-cookie" not in answer.headers
        assert not re.search(f"{token}|geheim|<evil>", answer.text)
    answers = [client.post(f"{url}/login", data={"token": "mgr_1_2"}, headers=PAGE) for _ in range(10)]
    assert [each.status_code for each in answers] == [401] * 9 + [429]
    assert answers[-1].headers["retry-after"]
    assert client.post(f"{url}/login", data={"token": token}, headers=PAGE).status_code == 303


def test_over_https(shop: Project, served: Served) -> None:
    """Where the browser speaks TLS with the proxy, the cookie never leaves without it."""
    text = make_token(shop, "ann")
    url = served(shop, PROXY)
    for proto, secure in (("https", True), ("http", "")):
        with at("127.0.0.9") as proxy:
            answer = proxy.post(f"{url}/login", data={"token": text}, headers={"x-forwarded-proto": proto})
            assert cookie(answer)["migrator_token"]["secure"] == secure
