"""1,000 one-statement revisions: migrator beside a bare asyncpg loop that does one round trip for each.

Both run on one embedded PostgreSQL, in turns, several rounds; the ratios are of medians taken in this one run.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg

from migrator.servers import postgres

COUNT = 1000
ROUNDS = 7


def write_revisions(folder: Path) -> None:
    folder.mkdir(parents=True)
    before = "none"
    for number in range(COUNT):
        name = f"{number:012x}"
        text = (
            f"-- Table {number}.\n-- revision: {name}\n-- down_revision: {before}\n\n"
            f"-- migrator: upgrade\nCREATE TABLE t{number} (id int);\n\n"
            f"-- migrator: downgrade\nDROP TABLE t{number};\n"
        )
        (folder / f"2026_01_01_{name}_table.sql").write_text(text)
        before = name


async def bare(url: str, folder: Path) -> float:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE history (id text PRIMARY KEY, at timestamptz DEFAULT now())")
    began = time.perf_counter()
    for number, path in enumerate(sorted(folder.iterdir())):
        sql = path.read_text()
        await connection.execute(
            f"BEGIN; CREATE TABLE t{number} (id int); INSERT INTO history (id) VALUES ('{number}'); COMMIT"
        )
        assert sql
    spent = time.perf_counter() - began
    await connection.close()
    return spent


async def fresh(admin: str, name: str) -> str:
    connection = await asyncpg.connect(admin)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return admin.rsplit("/", 1)[0] + f"/{name}"


def ours(url: str, root: Path) -> float:
    environ = {**os.environ, "DATABASE_URL": url, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-m", "migrator", "upgrade", "head", "--quiet"]
    began = time.perf_counter()
    subprocess.run(command, cwd=root, env=environ, check=True)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_revisions(root / "revisions")
        with postgres.attach(root / "server") as server:
            times: dict[str, list[float]] = {"bare loop": [], "migrator upgrade": []}
            for number in range(ROUNDS):
                url = asyncio.run(fresh(server.url, f"bare{number}"))
                times["bare loop"].append(asyncio.run(bare(url, root / "revisions")))
                url = asyncio.run(fresh(server.url, f"ours{number}"))
                times["migrator upgrade"].append(ours(url, root))
    base = statistics.median(times["bare loop"])
    for name, spent in times.items():
        middle = statistics.median(spent)
        print(f"{name:20} {middle:6.2f} s  {middle / base:5.2f} x")


if __name__ == "__main__":
    main()
