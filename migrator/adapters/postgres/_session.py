"""One connection for the lock, the tracker and the work: they live and die together."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from migrator.adapters.postgres._context import Context
from migrator.adapters.postgres._errors import translate
from migrator.adapters.postgres._link import Link
from migrator.adapters.postgres._lock import PostgresLock
from migrator.adapters.postgres._queries import Queries, literal
from migrator.adapters.postgres._tracker import PostgresTracker
from migrator.core.errors import ConnectionLost, DatabaseError, OutcomeUnknown, StatementFailed
from migrator.core.protocols import Databases
from migrator.core.run import Run

_DROPS_PLANS = re.compile(r"\b(DEALLOCATE|DISCARD)\b", re.IGNORECASE)


class PostgresSession:
    """Implements `core.protocols.Session`."""

    def __init__(self, link: Link, tracker: PostgresTracker, lock: PostgresLock) -> None:
        self._link = link
        self.tracker = tracker
        self.lock = lock

    @classmethod
    async def begin(cls, name: str, link: Link) -> "PostgresSession":
        """Find the tracker's schema. StatementFailed where the search path has none."""
        row = (await link.fetch(Queries("").text("place"), (), "look for the tracker"))[0]
        if row["schema"] is None:
            raise StatementFailed(
                f"the search path of {name} has no schema, so there is no place for the tracker",
                hint="Create the schema, or set it: ALTER ROLE ... SET search_path = ...",
            )
        queries = Queries(row["schema"])
        tracker = PostgresTracker(name, link, queries, exists=row["tracker"] and row["lock"])
        return cls(link, tracker, PostgresLock(name, link, queries, tracker))

    async def end(self) -> None:
        """Release what is held, whatever happened before; a connection that is gone holds nothing."""
        if self._link.closed:
            return
        with suppress(ConnectionLost):
            await self.lock.release()

    @asynccontextmanager
    async def step(self, run: Run, *, timeout: float, databases: Databases) -> AsyncIterator[Context]:
        """Open the context of a step; see the protocol."""
        context = Context(self._link, run, databases)
        if _DROPS_PLANS.search(run.source):
            self.tracker.forget_plans()
        opened = self._transaction(run, context, timeout) if run.transactional else self._plain(run, context, timeout)
        async with opened:
            yield context

    @asynccontextmanager
    async def _transaction(self, run: Run, context: Context, timeout: float) -> AsyncIterator[None]:
        limit = f"SET LOCAL statement_timeout = {int(timeout * 1000)};" if timeout else ""
        self._link.later(f"RESET ALL; BEGIN; {limit} SET LOCAL migrator.run = {literal(run.run_id)}")
        self.tracker.open_run = run.run_id
        try:
            await context.prepare(run.source)
            yield
            await context.close()
            await self._commit(run, context)
        except BaseException as error:
            await asyncio.shield(self._roll_back(context))
            known = translate(error, "run the script") if isinstance(error, Exception) else None
            if known is None:
                raise
            raise known from error
        finally:
            self.tracker.open_run = ""

    async def _commit(self, run: Run, context: Context) -> None:
        """Send what waits together with COMMIT; not to be cancelled, because nobody would know its outcome."""
        try:
            await asyncio.shield(self._link.execute("COMMIT", "commit"))
        except ConnectionLost as error:
            raise OutcomeUnknown(
                f"the connection was lost while {run.revision} was being committed",
                state="It is either applied as a whole or not at all; the tracker knows.",
                hint="Run the command again: it reads the tracker under the lock and goes on from there.",
            ) from error
        except DatabaseError as error:
            await self._roll_back(context)
            raise await self.tracker.explain(error, run) from error.__cause__

    async def _roll_back(self, context: Context) -> None:
        self._link.forget()
        if self._link.closed:
            return
        try:
            await context.close()
            if self._link.in_transaction:
                await self._link.execute("ROLLBACK", "roll back")
        except ConnectionLost:
            pass  # the server rolls back what its client left

    @asynccontextmanager
    async def _plain(self, run: Run, context: Context, timeout: float) -> AsyncIterator[None]:
        await self._link.execute(f"RESET ALL; SET statement_timeout = {int(timeout * 1000)}", "begin the step")
        try:
            await context.prepare(run.source)
            yield
        except Exception as error:
            known = translate(error, "run the script")
            if known is None:
                raise
            raise known from error
        finally:
            await asyncio.shield(self._tidy(context))

    async def _tidy(self, context: Context) -> None:
        if self._link.closed:
            return
        try:
            await context.close()
            if self._link.in_transaction:
                await self._link.execute("ROLLBACK", "roll back what the script left open")
            await self._link.execute("RESET ALL", "end the step")
        except ConnectionLost:
            pass
