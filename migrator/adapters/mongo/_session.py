"""A holder's session, and the steps in it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from time import monotonic

import pymongo
from bson.errors import BSONError
from pymongo.errors import PyMongoError

from migrator.adapters.mongo._context import Context
from migrator.adapters.mongo._errors import translated
from migrator.adapters.mongo._kill import kill_commands
from migrator.adapters.mongo._lease import ChoreLease
from migrator.adapters.mongo._lock import MongoLock
from migrator.adapters.mongo._tracker import MongoTracker
from migrator.adapters.mongo._work import SHORT, Work, finished, unheard
from migrator.core.errors import DependencyMissing, StatementTimeout, TransactionEscaped
from migrator.core.protocols import Databases, Lease, Lock, Tracker
from migrator.core.run import Run


class MongoSession:
    """One server session for the lock, the tracker and the work together."""

    def __init__(self, work: Work, name: str, appname: str) -> None:
        self._work = work
        self._name = name
        self._appname = appname
        self._tracker = MongoTracker(work, name)
        self.tracker: Tracker = self._tracker
        self.lock: Lock = MongoLock(work, self._tracker, name, appname)

    def lease(self, chore: str) -> Lease:
        """Return the right to do a chore."""
        return ChoreLease(self._work, self._tracker, self._name, chore)

    @property
    def alive(self) -> bool:
        """Say yes: the driver opens connections as it needs them."""
        return True

    @asynccontextmanager
    async def step(
        self, run: Run, *, timeout: float, databases: Databases, allow_pooled: bool = False
    ) -> AsyncIterator[Context]:
        """Open the context in which a script runs; `timeout` is in seconds, 0 means none.

        In a transaction: leaving without an error commits, together with whatever the tracker wrote inside; leaving
        with one rolls back. The script is never run twice. Raises DependencyMissing on a standalone server,
        TrackerRefused where the lock was taken over, OutcomeUnknown where the commit was never answered.

        The server ends a command at the timeout. pymongo has no comment for every command of a client, so a script's
        commands are known on the server by the name of the client (`appName` in `$currentOp`).
        """
        del allow_pooled  # nobody pools MongoDB's connections
        if run.transactional:
            self._need_transactions()
        context = Context(run, databases, self._work.db)
        async with self._transaction(run, timeout) if run.transactional else self._plain(run, timeout):
            yield context

    @asynccontextmanager
    async def _transaction(self, run: Run, timeout: float) -> AsyncIterator[None]:
        what = f"{self._name}: {run.direction} {run.revision}"
        with translated(what):
            await self._work.begin()
            try:
                await self._fence(run)
                async with self._work.session.bind(end_session=False):
                    with _limited(what, timeout):
                        yield
                self._need_open(what)
            except BaseException as error:
                # Nobody waits for a command of a task that was cancelled; the server would still run it to its end.
                await self._work.abort(kill=unheard(error))
                raise
            await self._work.commit(what)

    @asynccontextmanager
    async def _plain(self, run: Run, timeout: float) -> AsyncIterator[None]:
        what = f"{self._name}: {run.direction} {run.revision}"
        with translated(what):
            try:
                with _limited(what, timeout):
                    yield
            except asyncio.CancelledError:
                await finished(self._kill())
                raise
            except BaseException:
                self._work.doubtful = True  # its last command may still run; the next holder gets our name and ends it
                raise

    async def _fence(self, run: Run) -> None:
        with pymongo.timeout(SHORT):
            await self._tracker.check(run, self._work.session)

    async def _kill(self) -> None:
        with self._work.ending():
            await kill_commands(self._work.db, self._appname)

    def _need_open(self, what: str) -> None:
        if not self._work.session.in_transaction:
            raise TransactionEscaped(
                f"{what}: the script ended the transaction in which it ran",
                state="What it wrote before that may have taken effect.",
                hint="Leave the transaction to the step, or write `transaction = False` in the revision.",
            )

    def _need_transactions(self) -> None:
        if not self._work.transactions:
            raise DependencyMissing(
                f"{self._name}: a transactional step needs a replica set, and this server is a standalone one",
                state="Nothing was changed.",
                hint="Write `transaction = False` in the revision, or start mongod with --replSet; one member will do.",
            )


@contextmanager
def _limited(what: str, timeout: float) -> Iterator[None]:
    """Give the limit to the driver, which gives it to the server. Raises StatementTimeout when it was reached."""
    deadline = monotonic() + timeout
    try:
        with pymongo.timeout(timeout) if timeout > 0 else nullcontext():
            yield
    except (PyMongoError, BSONError) as error:
        if not (timeout > 0 and getattr(error, "timeout", False) and monotonic() >= deadline - 0.5):
            raise
        raise StatementTimeout(
            f"{what}: the step took longer than {timeout:g} seconds",
            code=str(getattr(error, "code", None) or ""),
            hint="Raise `timeout` in the revision, or do the work in smaller parts.",
        ) from error
