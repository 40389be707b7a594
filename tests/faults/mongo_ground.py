"""A MongoDB project for the fault tests: its revisions, a look at it from outside, and what must be true at the end."""

import asyncio
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pymongo
import pytest

from migrator.config import Config, load
from migrator.core.duration import seconds
from migrator.core.errors import MigratorError
from migrator.runtime.migrator import Migrator
from tests._servers import new_name
from tests.acceptance._project import Child, Project
from tests.faults.mongo_set import until
from tests.faults.proxy import Plan, Proxy

ITEMS = 20
LEAKS = (
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
)
"""Marks of tests that cut connections in this process: pymongo leaves sockets open that were just connecting when its
client was closed.
"""

IMPORTS = "import asyncio\nfrom pathlib import Path\nfrom migrator.core.run import Effect\n"

TRANSACTIONAL = """
await ctx.db.items.update_many({}, {"$inc": {NAME: 1}})
await ctx.db.effects.insert_one({"of": NAME, "by": ctx.run.run_id})
await ctx.db.effects.update_one({"of": NAME, "by": ctx.run.run_id}, {"$set": {"twice": True}})
"""
INDEX = 'await ctx.db.items.create_index("word", name=f"i_{NAME}")'
INDEX_IS = 'return Effect.FULL if f"i_{NAME}" in await ctx.db.items.index_information() else Effect.NONE'
RULE = """
await ctx.db.command({"collMod": "items", "validator": {"word": {"$type": "string"}}, "validationLevel": "moderate"})
"""
RULE_IS = """
found = [each async for each in await ctx.db.list_collections(filter={"name": "items"})]
return Effect.FULL if found[0]["options"].get("validator") else Effect.NONE
"""
AGAIN = 'await ctx.db.items.update_many({NAME: {"$ne": 1}}, {"$inc": {NAME: 1}})'
BATCHES = """
async for batch in ctx.batches("items", max_rows=7, name=NAME):
    async with batch:
        BEFORE
        await ctx.db.items.update_many(batch.where, {"$inc": {NAME: 1}})
        AFTER
    BETWEEN
"""
COUNTED = """
done = await ctx.db.items.count_documents({NAME: 1})
every = await ctx.db.items.count_documents({})
return Effect.FULL if done == every else Effect.PARTIAL if done else Effect.NONE
"""
GATE = """
first = not Path({reached!r}).exists()
Path({reached!r}).touch()
while first and not Path({opened!r}).exists():
    await asyncio.sleep(0.02)
"""


class Ground:
    """An empty database with twenty items, a project beside it, and everything to look at both."""

    def __init__(self, url: str, folder: Path, *, top: str = "", wait: str = "5s") -> None:
        self.name = new_name()
        self.url = urlunsplit(urlsplit(url)._replace(path=f"/{self.name}"))
        self.project = Project(folder)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(url, serverSelectionTimeoutMS=20_000)
        self.db = self.client[self.name]
        self._top = top
        self.wait = wait
        self._closed = False
        self.last: str | None = None
        self.names: list[str] = []
        self.project.env["RELEASE"] = self.name
        self.direct()
        self.db["items"].insert_many([{"_id": number, "word": str(number)} for number in range(ITEMS)])

    # the project

    def direct(self, url: str = "") -> None:
        """Write migrator.toml with the server's own address, or with another."""
        self.project.configure(top=self._top, main=url or self.url)
        with self.project.toml.open("a", encoding="utf-8") as file:
            file.write(f'connect_timeout = "{self.wait}"\n')

    def revision(self, name: str, upgrade: str, verify: str | None = None, **constants: Any) -> None:
        """Add a revision to the end of the line; NAME in the bodies is its name."""

        def filled(body: str | None) -> str | None:
            return None if body is None else re.sub(r"\bNAME\b", repr(name), body.strip())

        path = self.project.revision(
            "main", name, self.last, upgrade=filled(upgrade) or "pass", verify=filled(verify), **constants
        )
        text = path.read_text("utf-8")
        head, line, rest = text.partition("async def upgrade")
        path.write_text(f"{head}{IMPORTS}{line}{rest}", "utf-8")
        self.last = name
        self.names.append(name)

    def transactional(self, name: str, before: str = "", after: str = "") -> None:
        """Add a transactional revision that changes all items and leaves a document."""
        self.revision(name, f"{before}\n{TRANSACTIONAL.strip()}\n{after}", transaction=True)

    def batched(self, name: str, before: str = "", after: str = "", between: str = "") -> None:
        """Add a revision that changes all items in three batches or more; its name begins with "batches"."""
        body = BATCHES
        for mark, lines, depth in (("BEFORE", before, 8), ("AFTER", after, 8), ("BETWEEN", between, 4)):
            body = body.replace(mark, indent(lines.strip(), " " * depth).strip())
        self.revision(name, body)

    def corpus(self) -> None:
        """Write the standard line: transactional twice, index, collMod, an update that may run again, batches,
        transactional.
        """
        self.transactional("t1")
        self.transactional("t2")
        self.revision("index", INDEX.replace("{NAME}", "index"), INDEX_IS.replace("{NAME}", "index"))
        self.revision("rule", RULE, RULE_IS)
        self.revision("again", AGAIN, rerunnable=True)
        self.batched("batches")
        self.transactional("t3")

    def gate(self, name: str) -> str:
        """Return the lines of a script that tell that it is there and wait until `open` is called.

        Only the first to come waits.
        """
        reached, opened = (str(self.folder / f"{name}.{each}") for each in ("reached", "opened"))
        return GATE.format(reached=reached, opened=opened)

    def reached(self, name: str, child: Child) -> None:
        """Wait until a script stands at a gate."""
        file = self.folder / f"{name}.reached"
        until(lambda: file.exists() or not child.runs(), f"the script is at {name}")
        assert file.exists(), child.wait()

    def open(self, name: str) -> None:
        """Let everybody through a gate, from now on."""
        (self.folder / f"{name}.opened").touch()

    def through(self, proxy: Proxy) -> str:
        """Return the address of the database through a proxy, and no other way."""
        return f"mongodb://127.0.0.1:{proxy.port}/{self.name}?directConnection=true"

    def config(self, url: str = "", *, lock_timeout: str = "10m") -> Config:
        """Return the configuration for a run in this process."""
        self.direct(url)
        found = load(str(self.project.toml), {"RELEASE": self.name})
        self.direct()
        return msgspec.structs.replace(found, lock_timeout=seconds(lock_timeout))

    # the database

    def expire(self) -> None:
        """Let the lease run out at once, as if its time had gone by."""
        self.db["script_run_lock"].update_one({"_id": "lease"}, [{"$set": {"expires": {"$subtract": ["$$NOW", 1]}}}])

    def lease(self) -> dict[str, Any]:
        """Return the lease, {} where there is none."""
        return self.db["script_run_lock"].find_one({"_id": "lease"}) or {}

    def held(self) -> bool:
        """Say whether somebody holds the lock by the server's clock."""
        taken = {"_id": "lease", "$expr": {"$gt": ["$expires", "$$NOW"]}}
        return self.db["script_run_lock"].find_one(taken) is not None

    def rows(self) -> list[dict[str, Any]]:
        """Return the tracker's rows in order, without their source."""
        return list(self.db["script_run_tracker"].find({}, {"source": 0}).sort("seq"))

    def statuses(self) -> list[tuple[str, str, str]]:
        """Return revision, status and effect of every row."""
        return [(row["revision"], row["status"], row["effect"]) for row in self.rows()]

    def operations(self, appname: str = "", **wanted: Any) -> list[dict[str, Any]]:
        """Return what runs on the server, or is open there, for a client of this ground."""
        mine = {"$regex": f"^migrator/{appname or re.escape(self.name)}"}
        stages: list[dict[str, Any]] = [{"$currentOp": {"idleSessions": True, "allUsers": True}}]
        found = self.client.admin.aggregate([*stages, {"$match": {"appName": mine, **wanted}}])
        watching = {"hello", "isMaster", "ismaster"}  # the driver's monitor, for as long as the client lives
        return [
            each
            for each in found
            if (each.get("active") and not watching & set(each.get("command", {}))) or "transaction" in each
        ]

    def updating(self) -> list[dict[str, Any]]:
        """Return the updates that run on the items now."""
        return self.operations(active=True, ns=f"{self.name}.items", op={"$in": ["update", "command"]})

    def check(self, *revisions: str) -> list[str]:
        """Return what is wrong: not applied exactly once, effects not there exactly once, something left behind."""
        names = revisions or tuple(self.names)
        return [*_applied(self.rows(), names), *self._effects(names), *self._left()]

    def _effects(self, names: Iterable[str]) -> Iterator[str]:
        items = list(self.db["items"].find())
        indexes = self.db["items"].index_information()
        for name in names:
            counts = sorted({item.get(name, 0) for item in items})
            made = self.db["effects"].count_documents({"of": name})
            if name.startswith("t") and (counts != [1] or made != 1):
                yield f"{name}: took effect {counts} times in the items, and left {made} documents"
            if name.startswith(("again", "counted", "batches")) and counts != [1]:
                yield f"{name}: took effect {counts} times"
            if name.startswith("batches"):
                yield from self._checkpoint(name)
            if name.startswith("index") and f"i_{name}" not in indexes:
                yield f"{name}: there is no index"
            if name.startswith("rule") and not self.db["items"].options().get("validator"):
                yield f"{name}: there is no validator"

    def _checkpoint(self, name: str) -> Iterator[str]:
        kept = list(self.db["script_run_checkpoint"].find({"name": name}))
        counts = [(row["rows"], row["batches"] >= 3, row["done"]) for row in kept]  # more where one was too slow
        if counts != [(ITEMS, True, True)]:
            yield f"{name}: its checkpoints say {counts}"

    def _left(self) -> Iterator[str]:
        if self.held():
            yield f"the lock is held: {self.lease()}"
        for each in self.operations():
            yield f"left on the server: {each.get('op')} {each.get('ns')} {each.get('desc')}"

    def close(self) -> None:
        """End what still runs, and drop the database; a second time it does nothing."""
        if self._closed:
            return
        self._closed = True
        self.project.close()
        until(self._dropped, "the database is dropped")
        self.client.close()

    def _dropped(self) -> bool:
        """Drop the database. A transaction whose client was cut off would lock it for a minute, so it ends first."""
        with pymongo.timeout(10):
            left = [{"id": each["lsid"]["id"]} for each in self.operations() if "lsid" in each]
            if left:
                self.client.admin.command("killSessions", left)
            self.client.drop_database(self.name)
        return True


def _applied(rows: list[dict[str, Any]], names: Iterable[str]) -> Iterator[str]:
    for row in rows:
        if row["status"] == "pending":
            yield f"{row['revision']}: pending"
    fences = [row["fence"] for row in rows]
    if fences != sorted(fences):
        yield f"the fences go down: {fences}"
    done = [row for row in rows if row["status"] == "success"]
    order = [row["revision"] for row in done if not row["superseded_by"]]
    if order != list(names):
        yield f"applied {order}, wanted {list(names)}"
    if len(done) != len(order):
        yield f"applied more than once: {[row['revision'] for row in done]}"


async def upgrade(config: Config, *targets: str) -> int:
    """Run `upgrade` in this process and return its exit code."""
    try:
        async with Migrator.open(config) as migrator:
            await migrator.upgrade(*targets or ("head",))
    except MigratorError as error:
        return error.exit_code
    return 0


@contextmanager
def paused(child: Child) -> Iterator[None]:
    """Stop a program for the length of a block."""
    child.send(signal.SIGSTOP)
    until(lambda: state_of(child.pid) == "T", "the program is stopped")
    try:
        yield
    finally:
        child.send(signal.SIGCONT)


def state_of(pid: int) -> str:
    """Return the letter of a program's state, "" where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]


async def overtaken(ground: Ground, proxy: Proxy, plan: Plan) -> tuple[int, int, list[dict[str, Any]]]:
    """Deploy through a proxy that holds a message, be overtaken meanwhile, and let the message go on its way late.

    Returns how the first and the second ended, and the tracker's rows when the second had ended.
    """
    proxy.reset(plan)
    first = asyncio.create_task(upgrade(ground.config(ground.through(proxy))))
    try:
        await asyncio.to_thread(proxy.wait_fired)
        ground.expire()
        second = await upgrade(ground.config())
        rows = ground.rows()
    finally:
        proxy.release()
        code = await first
    return code, second, rows
