"""A holder's session, and the steps in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from migrator.adapters.mongo._client import followed
from migrator.adapters.mongo._context import Context
from migrator.adapters.mongo._errors import translated
from migrator.adapters.mongo._kill import kill_commands
from migrator.adapters.mongo._lease import ChoreLease
from migrator.adapters.mongo._lock import MongoLock
from migrator.adapters.mongo._sent import watched
from migrator.adapters.mongo._tracker import MongoTracker
from migrator.adapters.mongo._work import Work, limited
from migrator.core.errors import DependencyMissing
from migrator.core.protocols import Databases, Lease, Lock, Tracker
from migrator.core.run import Run

if TYPE_CHECKING:
    from migrator.adapters.mongo._journal import MongoJournal
    from migrator.core.batch import Ledger
    from migrator.core.forecast import Sampling

_LATE = "Raise `timeout` in the revision, or do the work in smaller parts."


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
    def journal(self) -> "MongoJournal":
        """The audit of the HTTP API and its tokens."""
        from migrator.adapters.mongo._journal import MongoJournal

        return MongoJournal(self._work, self._name)

    @property
    def alive(self) -> bool:
        """Say yes: the driver opens connections as it needs them."""
        return True

    @property
    def follower(self) -> bool:
        """Return whether the address leads to a secondary alone."""
        return followed(self._work.db.client)

    def sampling(self, run: Run, *, databases: Databases) -> "AbstractAsyncContextManager[Sampling]":
        """Open the context in which one batch is tried; see the protocol."""
        from migrator.adapters.mongo._sampling import sampling

        return sampling(self._work, self._name, run, databases, self._ledger(run))

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
        async with self._transaction(run, timeout) if run.transactional else self._plain(run, timeout):
            with watched() as sent:
                yield Context(run, databases, self._work.db, partial(self._ledger, run), sent)

    @asynccontextmanager
    async def _transaction(self, run: Run, timeout: float) -> AsyncIterator[None]:
        what = f"{self._name}: {run.direction} {run.revision}"
        with translated(what, again=True):
            limit = limited(f"{what}: the step", timeout, _LATE)
            async with self._work.transaction(what, partial(self._tracker.check, run), limit):
                yield

    @asynccontextmanager
    async def _plain(self, run: Run, timeout: float) -> AsyncIterator[None]:
        what = f"{self._name}: {run.direction} {run.revision}"
        with translated(what):
            try:
                with limited(f"{what}: the step", timeout, _LATE):
                    yield
            except BaseException as error:
                self._work.running = True  # its last command may still run; the next holder gets our name and ends it
                if isinstance(error, asyncio.CancelledError):
                    await self._work.ending(kill_commands(self._work.db, self._appname))
                raise

    def _ledger(self, run: Run) -> "Ledger":
        from migrator.adapters.mongo._ledger import MongoLedger

        return MongoLedger(self._work, self._tracker, self._name, run)

    def _need_transactions(self) -> None:
        if not self._work.transactions:
            raise DependencyMissing(
                f"{self._name}: a transactional step needs a replica set, and this server is a standalone one",
                state="Nothing was changed.",
                hint="Write `transaction = False` in the revision, or start mongod with --replSet; one member will do.",
            )
