"""What a script of a PostgreSQL revision receives."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg

from migrator.adapters._context import ContextBase
from migrator.adapters.postgres._errors import is_unsent, refuse_unsendable, translate, undecodable
from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._section import DOING, is_unread, run_one_by_one, run_together
from migrator.core.errors import MigratorError, StatementFailed, UsageError
from migrator.core.protocols import Databases
from migrator.core.run import Run
from migrator.core.sql import statements

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

    from migrator.adapters.postgres._queries import Queries
    from migrator.core.batch import Ledger, Walk

_TOUCHES_SQLALCHEMY = re.compile(r"\.(conn|session)\b")

_COLUMNS = """
    SELECT attname FROM pg_catalog.pg_attribute
     WHERE attrelid = pg_catalog.to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


class Context(ContextBase):
    """One connection, and in a transactional step one transaction with the tracker's row.

    Arguments are asyncpg's: `$1`, `$2`. Whatever the server refuses is raised as `migrator.core.errors.DatabaseError`.
    """

    pooled = False
    begin = ""
    """What begins the step's transaction, to begin it once more."""

    def __init__(
        self,
        link: Link,
        run: Run | None = None,
        databases: Databases | None = None,
        queries: "Queries | None" = None,
        mark: Callable[[Run], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(run, databases)
        self._mark = mark
        self._link = link
        self._queries = queries
        self._path = run.path if run else ""
        self._sqlalchemy: _SQLAlchemy | None = None

    async def only_read(self) -> None:
        """Let the server refuse what would be written outside of a batch; a pooler's connection is not ours to set."""
        if not self.pooled:
            await self._link.execute("SET default_transaction_read_only = on", "only read", limit=LIMIT)
            self._link.held_back = True

    async def execute(self, sql: str, *args: Any) -> str:
        """Run a statement and return its status, such as `UPDATE 3`. Without arguments the text may hold several."""
        with self._nothing_if_unread(sql):
            self._link.take_in(sql)
            await self._count(sql)
            if args:
                return await self._link.execute_with(sql, args, "run a statement")
            return await self._link.execute(sql, "run a statement")

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """Run a query and return its rows; a row is read by name or by number."""
        with self._nothing_if_unread(sql):
            self._link.take_in(sql)
            await self._count(sql)
            return await self._link.fetch(sql, args, "run a query")

    async def value(self, sql: str, *args: Any) -> Any:
        """Run a query and return the first column of its first row, None where there is no row."""
        rows = await self.fetch(sql, *args)
        return rows[0][0] if rows else None

    async def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns in order, [] where there is no such table."""
        return [row[0] for row in await self.fetch(_COLUMNS, table)]

    def walk(self, source: str, key: tuple[str, ...], where: Any) -> "tuple[Walk, Ledger]":
        """Return the way along a table, and where its checkpoints are kept; `where` is SQL."""
        from migrator.adapters.postgres._ledger import PostgresLedger
        from migrator.adapters.postgres._walk import PostgresWalk

        if self._queries is None:
            raise UsageError("ctx.batches works in a step")
        return PostgresWalk(self._link, source, key, where or ""), PostgresLedger(self._link, self._queries, self)

    @contextmanager
    def _nothing_if_unread(self, text: str) -> Iterator[None]:
        """Take back that a statement was sent which the driver or the server refused before any of it ran."""
        before = self.touched
        try:
            yield
        except StatementFailed as error:
            if is_unsent(error.__cause__) or (is_unread(error) and sum(1 for _ in statements(text)) == 1):
                self.touched = before
            raise

    async def _count(self, text: str) -> None:
        """Count a statement before it is sent; outside of every transaction also in the tracker, for recovery.

        Raises StatementFailed if it cannot be sent at all.
        """
        refuse_unsendable(text)
        self.touched = True
        self.sent += 1
        if self._mark and self.run and self.lines is not None and not self._link.in_transaction:
            log = {"log": list(self.lines)} if self.lines else None
            await self._mark(replace(self.run, progress=self.progress, result=log))

    def explain(self, error: Exception) -> MigratorError | None:
        """Return what asyncpg's or SQLAlchemy's error means, None where it is neither's."""
        return error if isinstance(error, MigratorError) else translate(error, "run a statement", link=self._link)

    async def script(self, text: str) -> None:
        """Run the section of an SQL file: as one text in a transaction, else statement by statement.

        It is not sent with the commit, though that would save a round trip: the step's time limit and a signal end it,
        and neither may end a commit. Deferred constraints are checked with it for the same reason.
        """
        self._link.take_in(text)
        if self.run is not None and self.run.transactional:
            await self._count(text)
            await run_together(self._link, text, self._path, self.begin)
            return
        before = self.touched
        try:
            await run_one_by_one(self._link, text, self._path, self._count_of)
        except StatementFailed as error:
            if self.sent <= 1 and is_unread(error):
                self.touched = before  # nothing has run
            raise

    async def query(self, text: str, path: str) -> list[Any]:
        """Run the one statement of an SQL file's section and return its rows; errors name its line."""
        await self._count(text)
        return await self._link.fetch(text, (), DOING, path=path)

    async def _count_of(self, text: str, total: int) -> None:
        self.total = total
        await self._count(text)

    @property
    def conn(self) -> "AsyncConnection":
        """SQLAlchemy's connection over the same session and transaction."""
        return self._started().connection

    @property
    def session(self) -> "AsyncSession":
        """SQLAlchemy's ORM session over the same session and transaction; it is flushed after `upgrade`."""
        return self._started().session

    async def prepare(self, source: str) -> None:
        """Start SQLAlchemy where the revision's own text touches it: a property cannot wait for a server."""
        if _TOUCHES_SQLALCHEMY.search(source):
            await self._link.flush("begin")
            started = await _SQLAlchemy.start(self._link, self._sending, autocommit=not self._link.in_transaction)
            self._sqlalchemy, self.touched = started, False

    async def settle(self) -> None:
        """Write what SQLAlchemy's session has not written yet, into the step's own transaction."""
        if self._sqlalchemy is not None:
            await self._sqlalchemy.settle()

    async def close(self) -> None:
        """Let go of SQLAlchemy; the connection stays open. Works where the connection is gone, too."""
        if self._sqlalchemy is not None:
            started, self._sqlalchemy = self._sqlalchemy, None
            await started.close(alive=self._link.alive)
            if self._link.alive:  # it has JSON decoded, for everybody on this connection
                for name in ("json", "jsonb"):
                    await self._link.connection.reset_type_codec(name, schema="pg_catalog")

    @contextmanager
    def _sending(self) -> Iterator[None]:
        """Note that SQLAlchemy sends something, unless the driver refuses to."""
        before, self.touched = self.touched, True
        try:
            yield
        except (asyncpg.InterfaceError, asyncpg.DataError) as error:
            self.touched = before if is_unsent(error) else True
            raise

    def _started(self) -> "_SQLAlchemy":
        if self._sqlalchemy is None:
            raise RuntimeError(
                "ctx.conn and ctx.session start with the step when the revision's own file names them: "
                "write `conn = ctx.conn` in upgrade() and pass it to the code that uses it"
            )
        return self._sqlalchemy


Sending = Callable[[], AbstractContextManager[None]]


class _SQLAlchemy:
    """SQLAlchemy on a connection that is open already and stays open."""

    def __init__(self, engine: "AsyncEngine", connection: "AsyncConnection", session: "AsyncSession") -> None:
        self._engine = engine
        self.connection = connection
        self.session = session

    @classmethod
    async def start(cls, link: Link, sending: "Sending", *, autocommit: bool) -> "_SQLAlchemy":
        """Connect SQLAlchemy to the link's connection. Its transactions become savepoints of ours."""
        from sqlalchemy.dialects.postgresql.asyncpg import dialect
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
        from sqlalchemy.pool import StaticPool

        driver: Any = dialect.import_dbapi()  # type: ignore[no-untyped-call]

        async def given() -> Any:
            return _Lent(link, sending)

        def connect() -> Any:
            # A statement that is kept keeps the decoders of its columns, whatever a revision has made of them since.
            # An engine with `async_creator` heeds no option of its address, so the option is given here.
            return driver.connect(async_creator_fn=given, prepared_statement_cache_size=0)

        engine = create_async_engine(
            "postgresql+asyncpg://",
            creator=connect,
            poolclass=StaticPool,
            isolation_level="AUTOCOMMIT" if autocommit else None,
        )
        connection = await engine.connect()
        return cls(engine, connection, AsyncSession(bind=connection, expire_on_commit=False))

    async def settle(self) -> None:
        """Flush the session and release the savepoints."""
        await self.session.commit()
        await self.connection.commit()

    async def close(self, *, alive: bool) -> None:
        """Close what is SQLAlchemy's; what was not settled is rolled back with the step.

        Nothing may be left to the garbage collector: SQLAlchemy would roll back at an odd moment, and complain.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if not alive:
                await self.connection.invalidate()
            await self.session.close()
            await self.connection.close()
        except (SQLAlchemyError, asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
            with suppress(Exception):  # it went in this moment; whoever uses it next is told
                await self.connection.invalidate()
                await self.session.close()
                await self.connection.close()
        await self._engine.dispose(close=False)


_SENDS = frozenset(
    ("execute", "executemany", "fetch", "fetchrow", "start", "commit", "rollback", "set_type_codec", "reset_type_codec")
)
"""The methods of asyncpg's objects with which SQLAlchemy sends something."""


class _InTurn:
    """An object of asyncpg whose messages take turns with those of the link: asyncpg refuses two at once."""

    def __init__(self, link: Link, thing: Any, sending: "Sending") -> None:
        self._link = link
        self._thing = thing
        self._sending = sending

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        if name not in _SENDS:
            return found

        async def send(*args: Any, **options: Any) -> Any:
            async with self._link.turn:
                if args and isinstance(args[0], str):
                    self._link.take_in(args[0])
                    await self._link.heed(args[0])
                with self._sending():
                    return await found(*args, **options)

        return send

    async def cursor(self, *args: Any) -> "_InTurn":
        """Open a cursor of a prepared statement."""
        async with self._link.turn:
            with self._sending():
                return _InTurn(self._link, await self._thing.cursor(*args), self._sending)


class _Lent(_InTurn):
    """An asyncpg connection that SQLAlchemy may use and not close: it is ours, also when it is gone."""

    def __init__(self, link: Link, sending: "Sending") -> None:
        super().__init__(link, link.connection, sending)

    def transaction(self, **options: Any) -> _InTurn:
        """Return a transaction, or a savepoint in the step's own."""
        return _InTurn(self._link, self._thing.transaction(**options), self._sending)

    async def prepare(self, text: str, **options: Any) -> "_Prepared":
        """Prepare a statement behind what has to come before each."""
        refuse_unsendable(text)
        async with self._link.turn:
            self._link.take_in(text)
            await self._link.heed(text)
            prepared = await self._thing.prepare(self._link.lead() + text, **options)
            return _Prepared(self._link, prepared, self._sending)

    async def close(self, **_: Any) -> None:
        """Keep it open."""

    def terminate(self) -> None:
        """Keep it open."""


class _Prepared(_InTurn):
    """A prepared statement of asyncpg whose error names the column of a value that Python does not have."""

    async def fetch(self, *args: Any, **options: Any) -> Any:
        """Return the rows."""
        try:
            async with self._link.turn:
                with self._sending():
                    return await self._thing.fetch(*args, **options)
        except (ValueError, OverflowError) as error:
            if isinstance(error, asyncpg.InterfaceError):  # of an argument
                raise
            raise undecodable(error, self._thing.get_attributes(), "run a query") from error
