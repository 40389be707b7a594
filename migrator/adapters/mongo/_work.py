"""The one server session in which a holder of the lock works, and its transactions.

Every command of ours has a time limit of its own, so that a server that has gone silent holds nobody up. The client as
a whole has none: it would cut long commands of a script whose revision allows them, and it is not needed to come back
from a silent server: the driver's heartbeat notices it and cancels the waiting command (measured: after 20 s).

Nothing here runs a script's code twice: `ClientSession.with_transaction` does (measured: 17 times in 122 s), so it is
not used. Only our own short writes are repeated, and only where the server says that they did not take effect.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import Context
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import pymongo
from bson.errors import BSONError
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import AutoReconnect, ConnectionFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from migrator.adapters._shared import to_the_end
from migrator.adapters.mongo._errors import deposed, transient, unknown
from migrator.adapters.mongo._kill import kill_session
from migrator.core.errors import OutcomeUnknown, StatementTimeout, TransactionEscaped

if TYPE_CHECKING:
    from migrator.adapters.mongo._home import Home

T = TypeVar("T")
Documents: TypeAlias = AsyncCollection[dict[str, Any]]

SHORT = 10.0
"""Seconds for a short write of ours, with all its repetitions."""
COMMIT = 15.0
"""Seconds for a commit, with all its repetitions; after them the outcome is unknown."""
ABORT = 5.0
"""Seconds for giving up a transaction; after them the next holder of the lock or the server's own limit ends it."""
ELECTION = 20.0
"""Seconds for which a question of ours waits for a primary; a set that lost its own takes about 12 by default."""
PAUSE = 0.05
"""Seconds between two tries."""

DURABLE = WriteConcern(w="majority", j=True, wtimeout=int(SHORT * 1000))
MAJORITY = ReadConcern("majority")
LOCAL = ReadConcern("local")
"""Of a transaction: a collection cannot be created at `snapshot` or `majority` (code 72 on 6.0). On one replica set the
reads of a transaction come from one snapshot anyway, and its majority commit covers what it read.
"""


def ours(db: AsyncDatabase[dict[str, Any]], name: str) -> Documents:
    """Return a collection of ours: majority, journal, primary, times with their zone. A script's keep its own."""
    options = db.codec_options.with_options(tz_aware=True)
    return db.get_collection(name, options, ReadPreference.PRIMARY, DURABLE, MAJORITY)


class Work:
    """A server session, with or without an open transaction. Belongs to one task at a time."""

    def __init__(
        self, db: AsyncDatabase[dict[str, Any]], session: AsyncClientSession, transactions: bool, home: "Home"
    ) -> None:
        self.db = db
        self.home = home
        self.session = session
        self.transactions = transactions
        self.doubtful = False  # a transaction was given up: what was sent for it may still arrive and open it again
        self.running = False  # a command outside a transaction may still run
        self.silent = False  # the server was told to stop and did not answer: nothing more is worth the wait

    @property
    def lsid(self) -> dict[str, Any]:
        """Return the server's name of the session, for whoever takes over."""
        return dict(self.session.session_id)

    @property
    def term(self) -> Any:
        """Return what identifies the term of the primary, None if there is none or the server has no terms."""
        members = self.db.client.topology_description.server_descriptions().values()
        return next((each.election_id for each in members if each.is_writable), None)

    async def begin(self) -> None:
        """Begin a transaction; sends nothing."""
        await self.session.start_transaction(
            read_concern=LOCAL, write_concern=DURABLE, read_preference=ReadPreference.PRIMARY
        )

    @asynccontextmanager
    async def transaction(
        self, what: str, first: Callable[[AsyncClientSession], Awaitable[object]], limit: AbstractContextManager[None]
    ) -> AsyncIterator[None]:
        """Open a transaction for a script: `first` is a write of ours, and whatever the block sends after it joins,
        with or without `session=`, within `limit`. Leaving without an error commits.
        """
        await self.begin()
        term = self.term
        try:
            with pymongo.timeout(SHORT):
                await first(self.session)
            async with self.session.bind(end_session=False):
                with limit:
                    yield
            self._need_open(what)
        except BaseException as error:
            await self.abort()
            if transient(error) and self.term != term:
                raise deposed(what, error) from error
            raise
        await self.commit(what)

    def _need_open(self, what: str) -> None:
        if not self.session.in_transaction:
            raise TransactionEscaped(
                f"{what}: the script ended the transaction in which it ran",
                state="What it wrote before that may have taken effect.",
                hint="Leave the transaction to the step, or write `transaction = False` in the revision.",
            )

    async def commit(self, what: str) -> None:
        """Commit, to the end though the caller is cancelled. OutcomeUnknown where no answer is certain.

        After a failure the transaction is ended on the server, if that can still be reached: one that was not committed
        would keep everybody else waiting for a minute, and one that was does not notice.
        """
        try:
            await _finished(self._commit(what))
        except (OutcomeUnknown, PyMongoError):
            await self.abort()
            raise

    async def abort(self) -> None:
        """Give the transaction up; never raises for a server that does not answer.

        Its session is ended on the server: a cancelled task and a broken link end nothing there, and the driver does
        not say whether its own abort was heard.
        """
        self.doubtful = True
        await self.ending(self._abort())

    async def ending(self, tell: Coroutine[Any, Any, object]) -> None:
        """Tell the server to stop, for at most ABORT seconds, and remember where it does not even answer that."""
        await _finished(self._told(tell))

    async def together(self, what: str, body: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
        """Run our own writes in the open transaction, or in a short one that is committed at once.

        The short one is repeated where the server says that nothing of it took effect. On a standalone server, which
        has no transactions, the writes follow one another: a crash between them leaves the first without the second.
        """
        if self.silent:
            raise AutoReconnect("the server does not answer any more")
        with pymongo.timeout(SHORT):
            if self.session.in_transaction or not self.transactions:
                return await body(self.session)
        deadline = monotonic() + SHORT
        while True:
            try:
                return await self._once(what, body)
            except PyMongoError as error:
                if not transient(error) or monotonic() > deadline:
                    raise
            await asyncio.sleep(PAUSE)

    async def _once(self, what: str, body: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
        await self.begin()
        try:
            with pymongo.timeout(SHORT):
                result = await body(self.session)
        except BaseException:
            await self.abort()
            raise
        await self.commit(what)
        return result

    async def _commit(self, what: str) -> None:
        deadline = monotonic() + COMMIT
        with pymongo.timeout(COMMIT):
            while True:
                try:
                    return await self.session.commit_transaction()
                except PyMongoError as error:
                    if not error.has_error_label("UnknownTransactionCommitResult"):
                        raise
                    if monotonic() + PAUSE > deadline:
                        raise unknown(what) from error
                await asyncio.sleep(PAUSE)

    async def _told(self, tell: Coroutine[Any, Any, object]) -> None:
        try:
            with pymongo.timeout(ABORT):
                await tell
        except PyMongoError as error:
            self.silent = error.timeout

    async def _abort(self) -> None:
        try:
            await self._kill()
        finally:
            if self.session.in_transaction:
                await self.session.abort_transaction()

    async def _kill(self) -> None:
        """End the session on the server; where the link breaks, tell it over another."""
        while True:
            try:
                return await kill_session(self.db.client, self.lsid)
            except ConnectionFailure as error:
                if error.timeout:
                    raise
            await asyncio.sleep(PAUSE)


async def _finished(work: Coroutine[Any, Any, T]) -> T:
    """Run what has a time limit of its own to its end; of the caller's there may be nothing left.

    A cancellation that came meanwhile is told at once: inside the driver, Python 3.11 would lose it (`wait_for`).
    """
    result = await to_the_end(asyncio.get_running_loop().create_task(work, context=Context()))
    await asyncio.sleep(0)
    return result


@contextmanager
def limited(what: str, seconds: float, hint: str) -> Iterator[None]:
    """Give the limit (0 for none) to the driver, which gives it to the server. Raises StatementTimeout at its end."""
    deadline = monotonic() + seconds
    try:
        with pymongo.timeout(seconds) if seconds > 0 else nullcontext():
            yield
    except (PyMongoError, BSONError) as error:
        if not (seconds > 0 and getattr(error, "timeout", False) and monotonic() >= deadline - 0.5):
            raise
        code = str(getattr(error, "code", None) or "")
        raise StatementTimeout(f"{what} took longer than {seconds:g} seconds", code=code, hint=hint) from error


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask, and ask again while the set has no primary, at most for ELECTION seconds; who loses the lease is ended."""
    deadline = monotonic() + ELECTION
    while True:
        try:
            with pymongo.timeout(SHORT):
                return await ask()
        except ConnectionFailure:
            if monotonic() > deadline:
                raise
        await asyncio.sleep(PAUSE)
