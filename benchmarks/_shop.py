"""The shop of the worked example with a past to look at: branches, a drift, failures, weeks of nightly runs, and a
long change that runs now and stands still from time to time. What benchmarks/screenshots.py takes its pictures of.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import msgspec

from benchmarks._shop_texts import FIRINGS, HOLD, PARCELS, PAST, REVISIONS, TOML
from migrator import config
from migrator.core.change import Change
from migrator.core.errors import MigratorError
from migrator.runtime.migrator import Migrator
from migrator.servers import mongo, postgres

ROOT = Path(__file__).parents[1]


class Shop:
    """The project in a folder, its servers, and what is done to it by several people."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.toml = folder / "migrator.toml"
        self._open = ExitStack()

    def make(self) -> None:
        """Start the servers and write the files."""
        shop = self._open.enter_context(postgres.attach(self.folder / "postgres")).url
        events = self._open.enter_context(mongo.attach(self.folder / "mongo")).url
        self.url = shop
        shutil.copytree(ROOT / "revisions", self.folder / "revisions")
        for path in (self.folder / "revisions").rglob("heads.lock"):
            path.unlink()
        for path in (self.folder / "revisions").rglob("*.py"):
            path.write_text(
                path.read_text().replace('database("main")', 'database("shop")').replace('"main:', '"shop:')
            )
        self.toml.write_text(TOML.format(shop=shop, events=events))

    def add(self, *names: str) -> None:
        """Write those of REVISIONS whose id is named."""
        for path, text in REVISIONS.items():
            if any(name in path for name in names):
                (self.folder / "revisions" / path).write_text(text)

    @asynccontextmanager
    async def as_(self, name: str) -> AsyncIterator[Migrator]:
        """Ask as somebody."""
        loaded = msgspec.structs.replace(config.load(str(self.toml)), actor=name, release="2026.41")
        async with Migrator.open(loaded) as migrator:
            yield migrator

    async def live(self) -> None:
        """Do what was done to the shop until today, but for the long change."""
        await self.sql(HOLD)
        async with self.as_("maria") as maria:
            await maria.upgrade("head")
        await self.sql(PARCELS)
        self.add("3f2a91c7d0e1", "51be77a0c2d4", "9b1de04c77aa", "c0ffee51d2b7", "reindex_search")
        async with self.as_("deploy") as deploy:
            await deploy.upgrade("heads")
        self.add("77aa01c93b5e")
        async with self.as_("jun") as jun:
            with suppress(MigratorError):
                await jun.upgrade("events:head")
            await jun.run("reindex_search")
            await jun.verify()
        self._as_if_elsewhere()
        await self.sql(PAST, FIRINGS)
        self.add("d4417be90a3c", "e8802fd11c65", "f1047ad3b9e2")

    def _as_if_elsewhere(self) -> None:
        """Take the paths of this machine out of the tracebacks."""
        places = {str(ROOT): "/srv/shop", sys.prefix: "/srv/venv", sys.base_prefix: "/usr"}
        for log in (self.folder / "logs").glob("*.log"):
            text = log.read_text()
            for place, shown in places.items():
                text = text.replace(place, shown)
            log.write_text(text)

    async def up_again(self) -> None:
        """Apply again what was rolled back."""
        async with self.as_("deploy") as deploy:
            await deploy.upgrade("shop:c0ffee51d2b7")

    async def go_on(self) -> subprocess.Popen[bytes]:
        """Begin the long change in a program of its own, hold it back once, and let a file drift meanwhile."""
        program = self.begin("upgrade", "shop:d4417be90a3c")
        await self.until(lambda changes: bool(changes) and changes[0].rows > 0)
        async with self.as_("maria") as maria:
            await maria.controls.tune({"max_rows_per_second": 2500.0, "max_rows": 600, "target": 0.1})
        drifted = next((self.folder / "revisions/main").glob("*7b2fc2dc74e6*"))
        drifted.write_text(drifted.read_text() + "\n# Somebody was here after it had run.\n")
        await self.hold()
        await asyncio.sleep(6)
        await self.let_go()
        return program

    async def until(self, there: Callable[[Sequence[Change]], bool]) -> None:
        """Wait until the long changes are like that."""
        async with self.as_("deploy") as looking:
            while not there(await looking.controls.changes(["shop"])):  # noqa: ASYNC110 - it is another program
                await asyncio.sleep(0.2)

    async def hold(self) -> None:
        """Let the throttle's query say no."""
        await self.sql("INSERT INTO maintenance_hold VALUES ('backup')")

    async def let_go(self) -> None:
        """Let the throttle's query say yes again."""
        await self.sql("DELETE FROM maintenance_hold")

    async def sql(self, *statements: str) -> None:
        """Send statements from outside."""
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def begin(self, *command: str) -> subprocess.Popen[bytes]:
        """Begin a command as a program of its own, which ends with the shop."""
        with (self.folder / f"{command[0]}.out").open("wb") as said:
            program = subprocess.Popen(
                [sys.executable, "-m", "migrator", *command],
                cwd=self.folder,
                env={**os.environ, "LOGNAME": "deploy"},
                stdout=said,
                stderr=said,
            )
        self._open.callback(program.wait)
        self._open.callback(program.terminate)
        return program

    def close(self) -> None:
        """End the programs that were begun, and let the servers go."""
        self._open.close()


if __name__ == "__main__":  # python -m benchmarks._shop FOLDER: a shop to look at, until Ctrl-C
    there = Shop(Path(sys.argv[1]))
    there.make()
    asyncio.run(there.live())
    asyncio.run(there.go_on())
    print(there.folder)
    with suppress(KeyboardInterrupt):
        asyncio.run(asyncio.sleep(1e6))
    there.close()
