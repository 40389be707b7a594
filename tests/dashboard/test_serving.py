"""The server itself."""

import httpx2

from tests.acceptance._project import Project
from tests.dashboard.conftest import Served


def test_a_server_answers(shop: Project, served: Served, client: httpx2.Client) -> None:
    """It is up without asking a database, and says what it knows of them."""
    url = served(shop)
    assert client.get(f"{url}/healthz").json() == {"status": "ok"}
    assert list(client.get(f"{url}/api/health").json()["databases"]) == ["main"]
