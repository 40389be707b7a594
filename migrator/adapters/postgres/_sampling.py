"""One batch of a long change, tried and rolled back: what it costs, and how the server finds its rows."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from migrator.adapters._shared import to_the_end
from migrator.adapters.postgres._context import Context
from migrator.adapters.postgres._errors import READ_ONLY
from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._queries import Queries
from migrator.core.batch import Page
from migrator.core.errors import DatabaseError, MigratorError, StatementFailed, TransactionEscaped, UsageError
from migrator.core.forecast import Sample
from migrator.core.protocols import Databases
from migrator.core.run import Run

ROLLBACK = 6.0
"""Seconds for a rollback; after them the connection is closed, which does the same."""

SHOWN = 4
"""Lines of a plan that say enough."""

_BEGIN = "BEGIN READ ONLY; SET LOCAL lock_timeout = '1s'"

# A script that ends the transaction of its batch would keep the batch: its COMMIT fails at this, and rolls back.
_NEVER = """
    CREATE TEMP TABLE migrator_never_kept (row int UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP;
    INSERT INTO pg_temp.migrator_never_kept VALUES (1), (1)
"""
_PLANNED = re.compile(r"(?is)(?:\s|--[^\n]*\n|/\*.*?\*/)*(?:WITH|SELECT|INSERT|UPDATE|DELETE|MERGE)\b")
_WHOLE = re.compile(r"Seq Scan on (?:\"((?:[^\"]|\"\")+)\"|(\w+))")


class SamplingContext(Context):
    """Implements `core.forecast.Sampling`: a transaction that only reads, but for the one batch."""

    def __init__(self, link: Link, run: Run, databases: Databases, queries: Queries) -> None:
        super().__init__(link, run, databases, queries)
        self.sample = Sample("WAL")
        self._sent: list[Any] = []

    @asynccontextmanager
    async def tried(self, page: Page, seconds: float) -> AsyncIterator[None]:
        """Open the transaction of a batch that is rolled back; see the protocol."""
        del page  # the server itself says what was written
        await self.settle()
        limits = f"SET LOCAL statement_timeout = {int(seconds * 1000)}; SET LOCAL lock_timeout = '1s'"
        await self._link.execute(f"ROLLBACK; BEGIN; {limits}; {_NEVER}", "begin the batch", limit=LIMIT)
        try:
            before = await self._written()
            began = time.perf_counter()
            with self._link.connection.query_logger(self._sent.append):
                yield
                await self.settle()
                await asyncio.sleep(0)  # the driver tells of a statement in the turn after it
            if not self._link.in_transaction:
                raise TransactionEscaped("the script ended the transaction of its batch")
            self.sample.seconds = time.perf_counter() - began
            self.sample.volume = await self._written() - before
            await self._explain()
        finally:
            await to_the_end(self._roll_back(_BEGIN))

    async def _written(self) -> int:
        """Return how much WAL there has ever been, in bytes, that of other sessions too."""
        rows = await self._link.fetch(
            "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn", (), "look at the WAL", limit=LIMIT
        )
        return int(rows[0][0])

    async def _explain(self) -> None:
        """Ask for the plans of the statements that were sent; that of the slowest is shown."""
        slowest = sorted(self._sent, key=lambda one: -float(one.elapsed))
        plans = [await self._plan(one) for one in slowest[:SHOWN] if _PLANNED.match(one.query)]
        found = [plan for plan in plans if plan]
        self.sample.plan = found[0][:SHOWN] if found else ()
        self.sample.whole = tuple(
            dict.fromkeys((match[1] or match[2]) for plan in found for line in plan for match in _WHOLE.finditer(line))
        )

    async def _plan(self, sent: Any) -> tuple[str, ...]:
        args = sent.args[0] if isinstance(sent.args, list) else sent.args  # of a statement that ran once for each row
        await self._link.execute("SAVEPOINT migrator_plan", "look at the plan", limit=LIMIT)
        try:
            lines = await self._link.fetch(f"EXPLAIN {sent.query}", args, "look at the plan", limit=LIMIT)
        except StatementFailed:
            await self._link.execute("ROLLBACK TO migrator_plan", "look at the plan", limit=LIMIT)
            return ()
        return tuple(line[0] for line in lines)

    async def _roll_back(self, then: str) -> None:
        self._link.forget()
        if self._link.alive:
            with suppress(MigratorError):
                await self._link.execute(f"ROLLBACK; {then}", "roll the batch back", limit=ROLLBACK)


@asynccontextmanager
async def sampling(link: Link, run: Run, databases: Databases, queries: Queries) -> AsyncIterator[SamplingContext]:
    """Open the context; nothing of what is done in it stays."""
    context = SamplingContext(link, run, databases, queries)
    await link.execute(_BEGIN, "begin the forecast", limit=LIMIT)
    try:
        await context.prepare(run.source)
        yield context
    except DatabaseError as error:
        if error.code != READ_ONLY:
            raise
        raise UsageError("it changes something before its first batch, and until then a forecast only reads") from error
    finally:
        await context.close()
        link.forget()
        if link.alive:
            with suppress(MigratorError):
                await to_the_end(link.execute("ROLLBACK", "end the forecast", limit=ROLLBACK))
