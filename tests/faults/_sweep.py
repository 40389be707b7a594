"""One deployment with one cut, and what must hold after it: used by the sweep, and by the test of its own eyes."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from migrator.config import load
from migrator.core.errors import MigratorError
from migrator.runtime.migrator import Migrator
from tests._servers import new_name, with_database
from tests.faults import corpus
from tests.faults.checker import EXIT_CODES, Ordered, look
from tests.faults.proxy import Do, Proxy, at

LIMIT = 40.0
"""Seconds that one command may take."""

AFTER_A_CUT = frozenset({0, 4, 12, 14})
"""How a command may end whose connection was cut: not at all where it was opening or closing one."""


@dataclass
class Tally:
    """What a sweep did: how many messages a clean run has, how many points were swept, what was wrong where."""

    messages: int = 0
    points: int = 0
    codes: dict[int, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


async def upgrade(folder: Path, url: str, *, top: str = "", more: str = "") -> int:
    """Run `upgrade head` in this program and return its exit code. What is none of migrator's errors is raised."""
    corpus.configure(folder, url, top=top, more=more)
    try:
        async with asyncio.timeout(LIMIT), Migrator.open(load(str(folder / "migrator.toml"), {})) as migrator:
            await migrator.upgrade("head")
    except MigratorError as error:
        return error.exit_code
    return 0


class Sweep:
    """Sweeps one project. `server` is the address of a server, `proxy` stands before it; see `corpus.configure`."""

    def __init__(
        self, folder: Path, server: str, proxy: Proxy, ordered: Sequence[Ordered], *, top: str = "", more: str = ""
    ) -> None:
        self._settings = {"top": top, "more": more}
        self._folder = folder
        self._server = server
        self._proxy = proxy
        self._ordered = ordered
        self.tally = Tally()

    async def count(self) -> int:
        """Run once without a cut, and return how many messages the client sends."""
        async with self._database() as url:
            self._proxy.reset()
            assert await upgrade(self._folder, self._proxy.url(url), **self._settings) == 0
            assert await look(url, self._ordered, final=True, alone=True) == []
        self.tally.messages = self._proxy.messages
        return self._proxy.messages

    async def point(self, number: int, what: Do) -> None:
        """Cut at one message, look, run a plain `upgrade head`, look again."""
        async with self._database() as url:
            found = [f"{what.name} {number}: {each}" for each in await self._swept(url, number, what)]
        self.tally.points += 1
        self.tally.violations += found

    async def _swept(self, url: str, number: int, what: Do) -> list[str]:
        self._proxy.reset(at(number, what))
        try:
            code = await upgrade(self._folder, self._proxy.url(url), **self._settings)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is none of ours
            return [f"{type(error).__name__}: {error}"]
        self.tally.codes[code] = self.tally.codes.get(code, 0) + 1
        if not self._proxy.fired:
            return [f"the fault did not fire: {self._proxy.messages} messages"]
        message = self._proxy.fired[0]
        found = [] if code in AFTER_A_CUT and code in EXIT_CODES else [f"exit code {code}"]
        found += await look(url, self._ordered, final=False)
        try:
            code = await upgrade(self._folder, url)
            found += [f"the next upgrade ended with {code}"] if code else []
        except Exception as error:  # noqa: BLE001 - the same
            found += [f"the next upgrade: {type(error).__name__}: {error}"]
        found += await look(url, self._ordered, final=True, alone=True)
        return [f"({message.payload[:70]!r}) {each}" for each in found]

    def _database(self) -> "_Database":
        return _Database(self._server)


class _Database:
    """An empty database for one point."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._name = new_name()

    async def __aenter__(self) -> str:
        await self._execute(f"CREATE DATABASE {self._name} TEMPLATE template0")
        return with_database(self._server, self._name)

    async def __aexit__(self, *_: object) -> None:
        with suppress(OSError):
            await self._execute(f"DROP DATABASE {self._name} WITH (FORCE)")

    async def _execute(self, text: str) -> None:
        import asyncpg

        connection = await asyncpg.connect(self._server, statement_cache_size=0)
        try:
            await connection.execute(text)
        finally:
            await connection.close()
