"""Sessions that no limit of the server ends: a holder between two messages, in a COPY, and a commit without standby."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from migrator import Migrator
from migrator.adapters.postgres import _abandoned, _link, _lock, _session
from migrator.config import load
from migrator.core.errors import ConnectionLost
from tests._servers import sql
from tests.faults import corpus
from tests.faults._pg import HOLDER, Server, pids, runs
from tests.faults.checker import Ordered, violations
from tests.faults.deployer import Deployer, until
from tests.faults.proxy import Do, Message, Proxy

INSERT = ["await ctx.execute('INSERT INTO evidence VALUES ($1)', 'p2')"]
COPY = [
    "import os, signal, pathlib",
    "raw = (await ctx.conn.get_raw_connection()).driver_connection",
    "async def rows():",
    "    yield b'p2\\n'",
    "    if not pathlib.Path('stopped').exists():",
    "        pathlib.Path('stopped').touch(); os.kill(os.getpid(), signal.SIGSTOP)",
    "await raw.copy_to_table('evidence', source=rows(), columns=['revision'])",
]


def two_steps(folder: Path, url: str, lines: list[str]) -> list[Ordered]:
    """Write a project whose second step is written in Python."""
    ordered = corpus.transactional(folder, url, 1)
    return [*ordered, corpus.revision(folder, "p2", ordered[-1].id, lines)]


async def upgrade(folder: Path) -> None:
    """Upgrade in this program."""
    async with Migrator.open(load(str(folder / "migrator.toml"))) as migrator:
        await migrator.upgrade("head")


@pytest.mark.parametrize("where", ["between two messages", "in a COPY"])
async def test_a_holder_is_stopped(
    folder: Path, proxy: Proxy, postgres_url: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no limit of the server ends its session, the next one who wants the lock does, and does all of it once."""
    monkeypatch.setattr(_abandoned, "SILENT", 1.0)
    copying = where == "in a COPY"
    ordered = two_steps(folder, proxy.url(postgres_url), COPY if copying else INSERT)
    holders, stopped = list[Deployer](), list[Message]()

    def plan(message: Message) -> Do:
        if message.kind == "P" and b"INSERT INTO evidence VALUES ($1)" in message.payload and not stopped:
            stopped.append(message)
            holders[0].stop()
        return Do.PASS

    proxy.plan = plan
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'ClientRead' AND query ~ '^(INSERT|COPY)'"
    with Deployer(folder, "upgrade", "head") as holder:
        holders.append(holder)
        until(lambda: sql(postgres_url, waiting), "it is stopped")
        corpus.configure(folder, postgres_url)
        await upgrade(folder)
        holder.resume()
        assert (await asyncio.to_thread(holder.wait)).code in (4, 12)
    assert violations(postgres_url, ordered) == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Give a server of one's own."""
    with Server(tmp_path / "server") as made:
        yield made


async def take_standby_away(url: str) -> None:
    """Let every commit wait for a standby that is not there, and wait until one has waited."""
    await asyncio.to_thread(sql, url, "ALTER SYSTEM SET synchronous_standby_names = 'gone'", "SELECT pg_reload_conf()")
    look, probe = await asyncpg.connect(url), await asyncpg.connect(url)
    waiting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    while not await look.fetchval(waiting):  # the server minds it when its checkpointer has read it, too
        write = asyncio.ensure_future(probe.execute("CREATE TABLE IF NOT EXISTS probe (); DROP TABLE probe"))
        await asyncio.wait([write], timeout=0.5)
    await asyncio.wait([write])
    assert write.exception() is not None
    await look.close()


async def test_a_standby_is_gone(folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit's outcome is looked up, the lock is free, and message and doctor name what is waited for."""
    for module in (_session, _link, _lock):
        for name in ("COMMIT", "LIMIT"):
            monkeypatch.setattr(module, name, 2.0, raising=False)
    ordered = two_steps(folder, server.url, INSERT)
    gone = ["import asyncio, pathlib", "pathlib.Path('here').touch()"]
    gone += ["while not pathlib.Path('open').exists(): await asyncio.sleep(0.02)"]
    corpus.revision(folder, "p2", "t01", [*gone, *INSERT])
    monkeypatch.chdir(folder)

    async def away() -> None:
        while not Path("here").exists():
            await asyncio.sleep(0.02)
        await take_standby_away(server.url)
        Path("open").touch()

    async with Migrator.open(load(str(folder / "migrator.toml"))) as migrator:
        outcome, _ = await asyncio.gather(migrator.upgrade("head"), away())
        assert "waits for a synchronous standby" in outcome.notes[0]
        assert [run.revision for run in outcome.runs] == ["t01", "p2"]
        assert pids(server.url, HOLDER) == []
        assert [row[1] for row in runs(server.url)] == ["success", "success"]
        findings = (await migrator.doctor()).databases["main"].findings
        assert any("synchronous_standby_names = 'gone'" in str(each) for each in findings), findings
        corpus.revision(folder, "p3", "p2", ["pass"])
        with pytest.raises(ConnectionLost, match="waits for a synchronous standby"):
            await migrator.upgrade("head")
    assert pids(server.url, HOLDER) == []
    assert violations(server.url, ordered, final=False) == []
