"""How long commands take to start, as ratios to `python -c pass`, taken in turns in one run.

`alembic current` stands beside them where Alembic is installed.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from migrator.servers import mongo, postgres

ROUNDS = 11
REVISIONS = 20


def write_project(root: Path) -> None:
    folder = root / "revisions"
    folder.mkdir()
    before = "None"
    for number in range(REVISIONS):
        name = f"{number:012x}"
        (folder / f"2026_01_01_{name}_step.py").write_text(
            f'"""Step {number}."""\n\nrevision = "{name}"\ndown_revision = {before}\n\n\n'
            "async def upgrade(ctx):\n    pass\n\n\nasync def downgrade(ctx):\n    pass\n"
        )
        before = f'"{name}"'


def spent(command: list[str], root: Path, url: str) -> float:
    began = time.perf_counter()
    environ = {**os.environ, "DATABASE_URL": url, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(command, cwd=root, env=environ, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_project(root)
        with postgres.attach(root / "postgres") as pg, mongo.attach(root / "mongo") as documents:
            python = sys.executable
            commands = {
                "python -c pass": ([python, "-c", "pass"], ""),
                "migrator --help": ([python, "-m", "migrator", "--help"], ""),
                "migrator --version": ([python, "-m", "migrator", "--version"], ""),
                "migrator status, PostgreSQL": ([python, "-m", "migrator", "status"], pg.url),
                "migrator status, MongoDB": ([python, "-m", "migrator", "status"], documents.url),
            }
            times: dict[str, list[float]] = {name: [] for name in commands}
            for command, url in commands.values():
                spent(command, root, url)  # compiles what is not compiled yet
            for _ in range(ROUNDS):
                for name, (command, url) in commands.items():
                    times[name].append(spent(command, root, url))
    base = statistics.median(times["python -c pass"])
    for name, each in times.items():
        middle = statistics.median(each)
        print(f"{name:30} {middle * 1000:7.0f} ms  {middle / base:5.1f} x")


if __name__ == "__main__":
    main()
