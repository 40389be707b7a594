"""One connection for the lock, the tracker and the work: they live and die together."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import asyncpg

from migrator.adapters._shared import to_the_end
from migrator.adapters.postgres._context import Context
from migrator.adapters.postgres._errors import translate
from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._lock import LeaseLock
from migrator.adapters.postgres._queries import literal
from migrator.adapters.postgres._settings import CLEAN, GIVE_BACK, KEEP, OURSELVES
from migrator.adapters.postgres._tracker import PostgresTracker
from migrator.adapters.postgres._watch import Watch
from migrator.core.errors import ConnectionLost, DatabaseError, MigratorError, OutcomeUnknown, PlanRefused
from migrator.core.protocols import Databases, Lease, Lock
from migrator.core.revision import Direction
from migrator.core.run import Run

if TYPE_CHECKING:
    from migrator.adapters.postgres._journal import PostgresJournal
    from migrator.core.forecast import Sampling

COMMIT = 60.0
"""Seconds that a commit may take; after them its outcome is unknown."""

ROLLBACK = 6.0
"""Seconds for cancelling what runs and rolling back; after them the connection is closed, which does the same."""

_PLANS = re.compile(r"\b(DEALLOCATE|DISCARD|PREPARE)\b", re.IGNORECASE)

_ACTIVE_TRANSACTION = "25001"

_OUTSIDE = {
    "sql": "Write `-- transaction: off` above the first section: its statements then commit one by one.",
    "python": "Write `transaction = False` in the revision: its statements then commit one by one.",
}
"""What to do about a statement that cannot run inside a transaction, in the words of the file's own format."""

_INVALID_INDEXES = """
    SELECT relname AS name, pg_catalog.quote_ident(nspname) || '.' || pg_catalog.quote_ident(relname) AS full_name
      FROM pg_catalog.pg_index
      JOIN pg_catalog.pg_class ON pg_class.oid = indexrelid
      JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
     WHERE NOT indisvalid AND relkind = 'i'
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.index_relid = indexrelid)
"""


class PostgresSession:
    """Implements `core.protocols.Session`. `pooled` says that a pooler in transaction mode is in between."""

    def __init__(
        self,
        link: Link,
        tracker: PostgresTracker,
        lock: Lock,
        lease: Callable[[str], Lease],
        *,
        pooled: bool,
        follower: bool = False,
    ) -> None:
        self._link = link
        self._pooled = pooled
        self._follower = follower
        self.tracker = tracker
        self.lock = lock
        self.lease = lease

    @property
    def journal(self) -> "PostgresJournal":
        """The audit of the HTTP API and its tokens."""
        from migrator.adapters.postgres._journal import PostgresJournal

        return PostgresJournal(self._link, self.tracker)

    @property
    def alive(self) -> bool:
        """Say whether the connection is open, as far as is known here."""
        return self._link.alive

    @property
    def follower(self) -> bool:
        """Return whether the server was a standby when the session began."""
        return self._follower

    async def end(self) -> None:
        """Release what is held, whatever happened before; a connection that is gone holds nothing."""
        if self._link.alive:
            with suppress(MigratorError):
                await self.lock.release()

    def sampling(self, run: Run, *, databases: Databases) -> "AbstractAsyncContextManager[Sampling]":
        """Open the context in which one batch is tried; see the protocol."""
        from migrator.adapters.postgres._sampling import sampling

        return sampling(self._link, run, databases, self.tracker.queries)

    @asynccontextmanager
    async def step(
        self, run: Run, *, timeout: float, databases: Databases, allow_pooled: bool = False
    ) -> AsyncIterator[Context]:
        """Open the context of a step; see the protocol."""
        if self._pooled and not run.transactional and run.cursor is None and not allow_pooled:
            raise PlanRefused(
                f"{run.database}:{run.revision} runs outside a transaction, and a pooler stands before {run.database}",
                state="Nothing of it was run.",
                hint="Give `direct_url` in migrator.toml; or write `allow_pooled = True` in the revision, "
                "in SQL `-- allow_pooled: yes`.",
            )
        mark = None if run.transactional or run.cursor is not None else self.tracker.mark
        context = Context(self._link, run, databases, self.tracker.queries, mark)
        context.pooled = self._pooled
        if _PLANS.search(run.source):
            self.tracker.forget_plans()
        opened = self._transaction(run, context, timeout) if run.transactional else self._plain(run, context, timeout)
        async with opened:
            yield context

    @asynccontextmanager
    async def _transaction(self, run: Run, context: Context, timeout: float) -> AsyncIterator[None]:
        limit = f"SET LOCAL statement_timeout = {int(timeout * 1000)};" if timeout else ""
        keep = f"{KEEP};" if self._pooled else ""
        label = f"SET LOCAL application_name = {literal(f'migrator:{run.run_id}')};" if self._pooled else ""
        context.begin = f"BEGIN; {keep} {limit} {label} {_marked(run)}"
        self._link.later(context.begin)
        self.tracker.open_run = run.run_id
        if not run.path.endswith(".sql"):  # a file with such a command is refused when it is read
            self._link.watch = Watch()
        watch = self._link.watch
        self.tracker.before_end = lambda: self._before_end(run, watch)
        try:
            await context.prepare(run.source)
            yield
            self._link.watch = None
            await context.close()
            await self._commit(run, context)
        except BaseException as error:  # noqa: BLE001 - raised again as ours
            known = _known(error, run, self._link)
            self._link.watch = None
            await to_the_end(self._roll_back(context))
            if watch is not None:
                context.escaped = await to_the_end(self._has_ended(watch))
            await to_the_end(self._clean(run))
            raise known  # noqa: B904 - it has its cause
        finally:
            self._link.watch = None
            self.tracker.open_run = ""

    def _before_end(self, run: Run, watch: Watch | None) -> str:
        """Return what comes before the row of success: constraints are checked with the script's rights, the row is
        written with ours. The mark of the transaction is set again where the script sent nothing that may end it.
        """
        mark = _marked(run) if watch is None or not watch.sent else ""
        return f"SET CONSTRAINTS ALL IMMEDIATE; {GIVE_BACK if self._pooled else OURSELVES}; {mark}"

    async def _clean(self, run: Run) -> None:
        """Take back what the script has set for its session; a pooler's is not ours, and a rollback took that back."""
        if self._pooled or not self._link.alive:
            return
        with suppress(MigratorError):
            await self._link.execute(_cleaning(run), "end the step", limit=ROLLBACK)
            self._link.other_role = self._link.held_back = False

    async def _has_ended(self, watch: Watch) -> bool:
        """Say whether the script ended the step's transaction; yes where that cannot be asked any more."""
        try:
            async with asyncio.timeout(ROLLBACK):
                return await watch.has_ended(self._link.connection, reliable=self._link.alive and not self._pooled)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return True

    async def _commit(self, run: Run, context: Context) -> None:
        """Send what waits together with COMMIT; to the end, because nobody would know the outcome of half of it."""
        try:
            clean = "" if self._pooled else f"{_cleaning(run)}; "
            await to_the_end(self._link.execute(f"{clean}COMMIT", "commit", limit=COMMIT))
            self._link.other_role = False
        except ConnectionLost as error:
            raise OutcomeUnknown(
                f"the connection was lost while {run.database}:{run.revision} was being committed ({error.message})",
                state="It is either applied as a whole or not at all; the tracker knows.",
                hint="Run the command again: it reads the tracker under the lock and goes on from there.",
            ) from error
        except DatabaseError as error:
            await self._roll_back(context)
            raise await self.tracker.explain(error, run) from error.__cause__

    async def _roll_back(self, context: Context) -> None:
        self._link.forget()
        await context.close()
        if not self._link.alive:
            return
        with suppress(MigratorError):  # the server rolls back what its client left
            # Always: after a cancelled statement nobody knows here yet whether the server has begun the transaction.
            await self._link.execute("ROLLBACK", "roll back", limit=ROLLBACK)

    @asynccontextmanager
    async def _plain(self, run: Run, context: Context, timeout: float) -> AsyncIterator[None]:
        if not self._pooled:
            limit = f"RESET ALL; SET statement_timeout = {int(timeout * 1000)}"
            await self._link.execute(limit, "begin the step", limit=LIMIT)
        if isinstance(self.lock, LeaseLock):
            self._link.lead = partial(self.lock.label, run.run_id)
        try:
            await self._drop_invalid_indexes(run)
            await context.prepare(run.source)
            yield
        except Exception as error:  # noqa: BLE001 - raised again as ours
            raise _known(error, run, self._link)  # noqa: B904 - it has its cause
        finally:
            await to_the_end(self._tidy(context, run))

    async def _drop_invalid_indexes(self, run: Run) -> None:
        """Remove what a CREATE INDEX CONCURRENTLY of an earlier attempt left: IF NOT EXISTS would keep it for good."""
        if run.attempt == 1 or run.direction is not Direction.UPGRADE:
            return
        rows = await self._link.fetch(_INVALID_INDEXES, (), "look for invalid indexes", limit=LIMIT)
        for row in rows:
            if _is_named(row["name"], run.source):
                await self._link.execute(
                    f"DROP INDEX CONCURRENTLY IF EXISTS {row['full_name']}", "drop an invalid index"
                )

    async def _tidy(self, context: Context, run: Run) -> None:
        self._link.lead = str
        await context.close()
        if not self._link.alive:
            return
        with suppress(MigratorError):
            await self._link.execute("ROLLBACK", "roll back what the script left open", limit=ROLLBACK)
        await self._clean(run)


def _marked(run: Run) -> str:
    """Return the text that marks the transaction of a step as its own."""
    return f"SET LOCAL migrator.run = {literal(run.run_id)}"


def _cleaning(run: Run) -> str:
    return f"{CLEAN}; DEALLOCATE ALL" if _PLANS.search(run.source) else CLEAN


def _known(error: BaseException, run: Run, link: Link) -> BaseException:
    """Return what a script raised, a driver's error as ours; ours stays what it is, whatever its cause.

    It is asked before anything else is sent: whether the link is open says whose connection an error is about.
    """
    known = translate(error, "run the script", link=link) if isinstance(error, Exception) else None
    ours = error if isinstance(error, MigratorError) else known
    if isinstance(ours, DatabaseError) and run.transactional and _needs_no_transaction(ours):
        ours.hint = _OUTSIDE["sql" if run.path.endswith(".sql") else "python"]
    if known is None:
        return error
    known.__cause__ = error
    return known


def _needs_no_transaction(error: DatabaseError) -> bool:
    """Say whether a statement was refused because it commits by itself, as VACUUM does."""
    return error.code == _ACTIVE_TRANSACTION and not error.hint and "SET TRANSACTION" not in error.message


def _is_named(index: str, source: str) -> bool:
    """Say whether a revision's text has the name of an index, in one of the ways in which it can be written."""
    doubled = index.replace('"', '""')
    forms = (index, doubled, doubled.replace('"', '\\"'))
    return any(re.search(rf"(?<!\w){re.escape(form)}(?!\w)", source, re.IGNORECASE) for form in forms)
