"""One batch of a long change, tried and rolled back: what it costs, and how the server finds its documents.

What the function does before its first batch runs in a transaction that is given up, too: the server lets it read and
write documents in it, and refuses the rest.
"""

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pymongo
from bson import encode
from pymongo.asynchronous.client_session import _SESSION
from pymongo.errors import OperationFailure

from migrator.adapters.mongo._context import Context
from migrator.adapters.mongo._errors import translated
from migrator.adapters.mongo._walk import MongoWalk
from migrator.adapters.mongo._work import SHORT, Work, limited
from migrator.core.batch import Ledger, Page, Walk
from migrator.core.errors import StatementFailed, UsageError
from migrator.core.forecast import Sample
from migrator.core.protocols import Databases
from migrator.core.run import Run

ENTRY = 150
"""Bytes of a changed document in the oplog beside its new values: names, ids and times."""

NOT_IN_TRANSACTION = "263"
"""The server's number for what it does not do in a transaction."""

_LATE = "Raise `target` of the loop, or `max_rows` down to what the server can do in that time."
_SCANS = "metrics.queryExecutor.collectionScans.total", "metrics.queryExecutor.scannedObjects"

Documents = dict[Any, Mapping[str, Any]]


class SamplingContext(Context):
    """Implements `core.forecast.Sampling` on the session of a holder who holds no lock."""

    def __init__(self, work: Work, name: str, run: Run, databases: Databases, ledger: Ledger) -> None:
        super().__init__(run, databases, work.db, lambda: ledger)
        self.sample = Sample("oplog")
        self._work = work
        self._name = name
        self._walk: MongoWalk | None = None

    def walk(self, source: str, key: tuple[str, ...], where: Any) -> tuple[Walk, Ledger]:
        """Return the way along a collection, which does not belong to the transaction of what was done before."""
        _SESSION.set(None)  # pymongo has no public word for leaving a session that is bound
        found = super().walk(source, key, where)
        self._walk = found[0] if isinstance(found[0], MongoWalk) else None
        return found

    @asynccontextmanager
    async def tried(self, page: Page, seconds: float) -> AsyncIterator[None]:
        """Open the transaction of a batch that is rolled back; see the protocol."""
        work, what = self._work, f"{self._name}: a batch"
        await work.abort()
        with translated(what, again=True):
            before = await self._counters()
            await work.begin()
            try:
                old = await self._documents(page.where)
                began = time.perf_counter()
                async with work.session.bind(end_session=False):
                    with limited(what, seconds, _LATE):
                        yield
                self.sample.seconds = time.perf_counter() - began
                self.sample.volume = _volume(old, await self._documents({"_id": {"$in": list(old)}}))
            except BaseException:
                await work.abort()
                raise
            await work.abort()
            await self._look(page, before)
        await work.begin()
        _SESSION.set(work.session)

    async def _documents(self, where: Any) -> Documents:
        if self._walk is None:
            return {}
        rows = self._work.db[self._walk.source].find(where, session=self._work.session)
        with pymongo.timeout(SHORT):
            return {row["_id"]: row async for row in rows}

    async def _look(self, page: Page, before: tuple[int, int]) -> None:
        """Note how documents are found, and how far the oplog goes back, as far as this user may know."""
        if self._walk is None:
            return
        db, source = self._work.db, self._walk.source
        with pymongo.timeout(SHORT):
            plan = await db.command({"explain": {"find": source, "filter": page.where}, "verbosity": "queryPlanner"})
            stage = plan["queryPlanner"]["winningPlan"]
            self.sample.plan = (" <- ".join(_stages(stage.get("queryPlan", stage))),)
            after = await self._counters()
            rows = await db[source].estimated_document_count()
            if (after[0] > before[0] and after[1] - before[1] >= rows) or "COLLSCAN" in self.sample.plan[0]:
                self.sample.whole = (source,)
            with suppress(OperationFailure):
                await self._oplog()

    async def _counters(self) -> tuple[int, int]:
        """Return how often the server has read a whole collection, and how many documents, for anybody."""
        with suppress(OperationFailure), pymongo.timeout(SHORT):
            metrics: Any = await self._work.db.command("serverStatus")
            found = []
            for path in _SCANS:
                value = metrics
                for name in path.split("."):
                    value = value.get(name, {})
                found.append(value if isinstance(value, int) else 0)
            return found[0], found[1]
        return 0, 0

    async def _oplog(self) -> None:
        """Note how much the oplog may hold, and how long it takes at the usual pace until it is full."""
        local = self._work.db.client.local
        sizes = await local.command("collStats", "oplog.rs")
        ends = [await local["oplog.rs"].find_one({}, {"ts": 1}, sort=[("$natural", way)]) for way in (1, -1)]
        if ends[0] is not None and ends[1] is not None and sizes["size"]:
            self.sample.room = int(sizes["maxSize"])
            seconds = float(ends[1]["ts"].time - ends[0]["ts"].time)
            self.sample.window = seconds * max(1.0, self.sample.room / sizes["size"])


@asynccontextmanager
async def sampling(
    work: Work, name: str, run: Run, databases: Databases, ledger: Ledger
) -> AsyncIterator[SamplingContext]:
    """Open the context; nothing of what is done in it stays."""
    if not work.transactions:
        raise UsageError("its server has no transactions, so a batch cannot be rolled back")
    context = SamplingContext(work, name, run, databases, ledger)
    with _explained(), translated(name):
        await work.begin()
        try:
            async with work.session.bind(end_session=False):
                yield context
        finally:
            await work.abort()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except StatementFailed as error:
        if error.code != NOT_IN_TRANSACTION:
            raise
        raise UsageError("it does something that cannot be rolled back, and a forecast keeps nothing") from error


def _volume(old: Documents, new: Documents) -> int:
    """Return about how many bytes of oplog these changes are."""
    whole = 0
    for key, row in old.items():
        now = new.get(key, {})
        changed = {name: value for name, value in now.items() if name not in row or row[name] != value}
        gone = {name: "" for name in row if name not in now}
        if changed or gone:
            whole += ENTRY + len(encode(changed)) + len(encode(gone))
    return whole


def _stages(stage: Any) -> list[str]:
    """Return the stages of a plan from the outermost to the one that finds the documents, with the index of that."""
    keys = stage.get("keyPattern")
    index = f" {{{', '.join(f'{name}: {way}' for name, way in keys.items())}}}" if keys else ""
    inner = stage.get("inputStage")
    return [f"{stage['stage']}{index}", *(_stages(inner) if inner else [])]
