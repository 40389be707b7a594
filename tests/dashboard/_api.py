"""Asking the HTTP API, as a program does."""

from typing import Any

import httpx2

from tests.acceptance._project import until

PROBLEM = "application/problem+json"


class Api:
    """The API at an address; each answer is the JSON of it, and any other status than the expected one fails."""

    def __init__(self, client: httpx2.Client, url: str) -> None:
        self.client = client
        self.url = url

    def get(self, path: str, status: int = 200, /, **params: Any) -> Any:
        """Ask."""
        return self.send("GET", path, status, params=params or None)

    def post(self, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        """Ask for a change."""
        return self.send("POST", path, status, json={} if body is None else body, headers=headers)

    def delete(self, path: str, body: Any = None, status: int = 200) -> Any:
        """Ask for something to go."""
        return self.send("DELETE", path, status, json={} if body is None else body)

    def send(self, method: str, path: str, status: int, **more: Any) -> Any:
        """Send a call and return what its answer says."""
        answer = self.client.request(method, f"{self.url}{path}", **more)
        assert answer.status_code == status, (answer.status_code, answer.text)
        kind = answer.headers["content-type"]
        if status >= 400:
            assert kind == PROBLEM, kind
            problem = answer.json()
            assert problem["status"] == status
            assert problem["detail"]
        return answer.json() if "json" in kind else answer.text

    def ended(self, entry: dict[str, Any], word: str = "ok") -> dict[str, Any]:
        """Wait until what was begun has ended, and return its entry."""
        found: dict[str, Any] = {}

        def over() -> bool:
            found.update(self.get(f"/api/audit/{entry['entry_id']}"))
            return bool(found["word"] != "running")

        until(over, "it has ended")
        assert found["word"] == word, found
        return found
