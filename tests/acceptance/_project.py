"""A project in a folder of its own, its revisions, and the command run in it as a program of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

LIMIT = 60.0
"""Seconds after which whatever was waited for counts as never coming."""

KEPT = ("PATH", "PYTHONPATH", "HOME", "LANG", "SYSTEMROOT", "TMPDIR", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True)
class Result:
    """How one call of the command ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """Return all that was printed."""
        return self.stdout + self.stderr

    def json(self) -> Any:
        """Return the one document on stdout; ValueError where there is anything else on it."""
        return json.loads(self.stdout)

    def error(self) -> dict[str, Any]:
        """Return what `--json` prints under `error`."""
        document = self.json()
        assert list(document) == ["error"], document
        found: dict[str, Any] = document["error"]
        return found


class Child:
    """The command while it runs."""

    def __init__(self, command: list[str], folder: Path, environ: Mapping[str, str], number: int) -> None:
        self._texts = [folder / f".child{number}.{name}" for name in ("stdout", "stderr")]
        with self._texts[0].open("wb") as out, self._texts[1].open("wb") as err:
            self._program = subprocess.Popen(
                command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        self.pid = self._program.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._program.send_signal(number)

    def runs(self) -> bool:
        """Say whether it has not ended yet."""
        return self._program.poll() is None

    def wait(self, limit: float = LIMIT) -> Result:
        """Wait for its end."""
        code = self._program.wait(limit)
        stdout, stderr = (file.read_text("utf-8") for file in self._texts)
        return Result(code, stdout, stderr)

    def close(self) -> None:
        """End it, however far it is."""
        with suppress(ProcessLookupError):
            self._program.kill()
        self._program.wait()


class Project:
    """A folder with migrator.toml and revisions. `urls` are the addresses by the databases' names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.toml = folder / "migrator.toml"
        self.urls: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self._children: list[Child] = []

    def configure(self, *, top: str = "", **urls: str) -> None:
        """Write migrator.toml with these databases, and their folders. `top` comes above the tables."""
        self.urls = urls
        tables = [f"[databases.{name}]\nurl = {json.dumps(url)}\n" for name, url in urls.items()]
        self.toml.write_text("\n".join([top, *tables]), "utf-8")
        for name in urls:
            self.revisions(name).mkdir(parents=True, exist_ok=True)

    def revisions(self, database: str) -> Path:
        """Return the folder of a database's revisions."""
        return self.folder / ("revisions" if len(self.urls) < 2 else f"revisions/{database}")

    def revision(
        self,
        database: str,
        name: str,
        parent: str | tuple[str, ...] | None = None,
        *,
        upgrade: str = "pass",
        downgrade: str | None = None,
        verify: str | None = None,
        **constants: Any,
    ) -> Path:
        """Write a revision in Python; the functions are given by their bodies."""
        kind = "mongo" if self.urls[database].startswith("mongodb") else "postgres"
        values = {"revision": name, "down_revision": parent, **constants}
        lines = [
            f'"""Title of {name}."""',
            f"from migrator.adapters.{kind} import Context",
            *(f"{key} = {value!r}" for key, value in values.items()),
        ]
        for function, body in (("upgrade", upgrade), ("downgrade", downgrade), ("verify", verify)):
            if body is not None:
                lines.append(f"async def {function}(ctx: Context):\n{indent(dedent(body).strip(), '    ')}")
        return self._write(database, f"{name}.py", "\n".join(lines) + "\n")

    def sql(
        self,
        database: str,
        name: str,
        parent: str | None = None,
        *,
        upgrade: str,
        downgrade: str = "",
        verify: str = "",
        **constants: str,
    ) -> Path:
        """Write a revision in SQL."""
        keys = {"revision": name, "down_revision": parent or "none", **constants}
        sections = {"upgrade": upgrade, "downgrade": downgrade, "verify": verify}
        lines = [f"-- Title of {name}", *(f"-- {key}: {value}" for key, value in keys.items())]
        lines.extend(f"\n-- migrator: {section}\n{text}" for section, text in sections.items() if text)
        return self._write(database, f"{name}.sql", "\n".join(lines) + "\n")

    def table(self, database: str, name: str, parent: str | None = None, **constants: Any) -> Path:
        """Write a revision that makes a PostgreSQL table `t_<name>`, with all three functions."""
        return self.revision(
            database,
            name,
            parent,
            upgrade=f'await ctx.execute("CREATE TABLE t_{name} (id int)")',
            downgrade=f'await ctx.execute("DROP TABLE t_{name}")',
            verify=f'return await ctx.columns("t_{name}") == ["id"]',
            **constants,
        )

    def tables(self, database: str, *names: str) -> None:
        """Write a line of such revisions."""
        for parent, name in zip((None, *names), names, strict=False):
            self.table(database, name, parent)

    def collection(self, database: str, name: str, parent: str | None = None, **constants: Any) -> Path:
        """Write a revision that makes a MongoDB collection `c_<name>` with one document."""
        return self.revision(
            database,
            name,
            parent,
            upgrade=f'await ctx.db["c_{name}"].insert_one({{"_id": 1}})',
            downgrade=f'await ctx.db["c_{name}"].delete_many({{}})',
            verify=f'return await ctx.db["c_{name}"].count_documents({{}}) == 1',
            **constants,
        )

    def run(self, *args: str, env: Mapping[str, str] | None = None, limit: float = LIMIT) -> Result:
        """Run the command to its end."""
        done = subprocess.run(
            self.command(*args),
            check=False,
            cwd=self.folder,
            env=self.environ(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def good(self, *args: str, env: Mapping[str, str] | None = None) -> Result:
        """Run the command, which must end with 0."""
        result = self.run(*args, env=env)
        assert result.exit_code == 0, result
        return result

    def start(self, *args: str, env: Mapping[str, str] | None = None) -> Child:
        """Start the command and return at once."""
        child = Child(self.command(*args), self.folder, self.environ(env), len(self._children))
        self._children.append(child)
        return child

    def command(self, *args: str) -> list[str]:
        """Return the words to run."""
        return [sys.executable, "-m", "migrator", *args]

    def environ(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment: nothing that configures migrator but what the test says."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return {**kept, "PYTHONWARNINGS": "error", **self.env, **(env or {})}

    def states(self, database: str = "main") -> dict[str, str]:
        """Return the state of every revision of a database, as `status` says it."""
        reports = self.good("status", "--json", "-d", database).json()["databases"]
        return {line["revision"]: line["state"] for line in reports[0]["lines"]}

    def close(self) -> None:
        """End what still runs."""
        for child in self._children:
            child.close()

    def _write(self, database: str, name: str, text: str) -> Path:
        path = self.revisions(database) / name
        path.write_text(text, "utf-8")
        return path


def until(condition: Callable[[], object], what: str, limit: float = LIMIT) -> None:
    """Wait until something is true."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.02)
