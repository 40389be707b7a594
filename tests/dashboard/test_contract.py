"""The API is what its OpenAPI document says: Schemathesis sends it what fits the document and what does not."""

import subprocess
import sys
from pathlib import Path

import httpx2

from tests.acceptance._project import Project
from tests.dashboard._api import Api
from tests.dashboard._server import bearer, make_token
from tests.dashboard.conftest import Served

SETTINGS = """
max-failures = 20
[generation]
max-examples = 3
deterministic = true
[phases.coverage]
unexpected-methods = ["PUT", "OPTIONS"]
generate-duplicate-query-parameters = true
[phases.stateful]
enabled = false
[[operations]] # names that are unknown, or taken
include-path = ["/api/plan", "/api/tokens"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "403", "404", "409", "422"]
[[operations]] # the same key is sent with several calls, and a key is for one call; `downgrade` takes no `head`
include-method = ["POST", "DELETE"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
[[operations]] # says with 503 that something is pending, after a downgrade
include-path = "/readyz"
checks.not_a_server_error.enabled = false
[[operations]]
include-path-regex = "^/scripts/runs/.run_id."
parameters = { "path.run_id" = "RUN" }
"""


def test_the_document_is_kept(shop: Project, served: Served, client: httpx2.Client, tmp_path: Path) -> None:
    """No server error, no status, type or body that the document does not know, nothing wrong that is accepted."""
    shop.tables("main", "a1", "b2")
    shop.good("upgrade")
    text = make_token(shop, "boss")
    client.headers.update(bearer(text))
    url = served(shop)
    run = Api(client, url).get("/scripts/runs")["runs"][0]["run_id"]
    (tmp_path / "schemathesis.toml").write_text(SETTINGS.replace("RUN", run))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run"]
    command += [f"{url}/api/openapi.json", "--checks=all", "-H", f"Authorization: Bearer {text}"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert len(Api(client, url).get("/api/audit", limit=500)["entries"]) > 5
