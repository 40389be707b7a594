"""What it costs an upgrade to be looked at: 50 clients poll the dashboard while 300 small revisions are applied.

In turns, several rounds, each on a new database: nobody looks, and 50 do. The server runs in both cases. The ratio is
of medians taken in this one run. Each client asks every three seconds, as an open page does, in turn for the databases,
the runs, and two pages.
"""

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import httpx2
from thousand import fresh

from migrator.servers import postgres

CLIENTS, EVERY, ROUNDS, REVISIONS = 50, 3.0, 5, 300
ASKED = ("/api/databases", "/scripts/runs?limit=50", "/", "/runs")
ANSWERED: list[int] = []


def main() -> None:
    times: dict[str, list[float]] = {"nobody looks": [], f"{CLIENTS} clients": []}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        root = Path(place)
        _write(root / "revisions")
        (root / "migrator.toml").write_text('[databases.main]\nurl = "${DATABASE_URL}"\n')
        with postgres.attach(root / "server") as server:
            for number in range(ROUNDS):
                for index, name in enumerate(times):
                    url = asyncio.run(fresh(server.url, f"run{number}_{index}"))
                    times[name].append(asyncio.run(_round(root, url, clients=CLIENTS * index)))
    for name, spent in times.items():
        ratio = statistics.median(spent) / statistics.median(times["nobody looks"])
        print(f"{name:15} {statistics.median(spent):6.2f} s  {ratio:5.2f} x")
    print(f"{sum(ANSWERED)} answers")


async def _round(root: Path, url: str, clients: int) -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "DATABASE_URL": url}
    serve = [sys.executable, "-m", "migrator", "serve", "--port", str(port), "--quiet"]
    server = await asyncio.create_subprocess_exec(*serve, cwd=root, env=environment, stderr=subprocess.DEVNULL)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        while True:
            with suppress(httpx2.TransportError):
                await client.get("/healthz")
                break
            await asyncio.sleep(0.1)
        polling = [asyncio.create_task(_poll(client, number / clients * EVERY)) for number in range(clients)]
        await asyncio.sleep(EVERY)
        began = time.monotonic()
        argv = [sys.executable, "-m", "migrator", "upgrade", "head", "--quiet"]
        upgrade = await asyncio.create_subprocess_exec(*argv, cwd=root, env=environment)
        assert await upgrade.wait() == 0
        spent = time.monotonic() - began
        for each in polling:
            each.cancel()
        found = await asyncio.gather(*polling, return_exceptions=True)
        for each in found:
            assert isinstance(each, asyncio.CancelledError), each
    server.send_signal(signal.SIGTERM)
    await server.wait()
    return spent


async def _poll(client: httpx2.AsyncClient, wait: float) -> None:
    await asyncio.sleep(wait)
    while True:
        for path in ASKED:
            answer = await client.get(path)
            assert answer.status_code == 200, answer.text
            ANSWERED.append(1)
            await asyncio.sleep(EVERY)


def _write(folder: Path) -> None:
    """Write small revisions in one line, each of which takes some milliseconds of the server."""
    folder.mkdir()
    for number in range(REVISIONS):
        parent = f"{number - 1:012x}" if number else "none"
        (folder / f"{number:012x}_step.sql").write_text(
            f"-- step {number}\n-- revision: {number:012x}\n-- down_revision: {parent}\n\n-- migrator: upgrade\n"
            f"CREATE TABLE t{number} AS SELECT n FROM generate_series(1, 20000) AS n;\n\n"
            f"-- migrator: downgrade\nDROP TABLE t{number};\n\n"
            f"-- migrator: verify\nSELECT count(*) = 20000 FROM t{number};\n"
        )


if __name__ == "__main__":
    main()
