"""One connection of one's own: statements take turns on it, and text nobody waits for rides with what follows."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg

from migrator.adapters._shared import to_the_end
from migrator.adapters.postgres._errors import refuse_unsendable, translate, undecodable
from migrator.adapters.postgres._section import Part
from migrator.adapters.postgres._settings import ASIDE, BACK, LOCALLY
from migrator.core.errors import DatabaseError, MigratorError, StatementFailed

if TYPE_CHECKING:
    from migrator.adapters.postgres._watch import Watch

LIMIT = 30.0
"""Seconds that a short statement of ours may take; then the server counts as gone."""

INTERVAL = 5.0
"""Seconds between two messages that say that the holder of a connection lives; the server ends a session that is
silent for much longer.
"""

_ALTERS = re.compile(r"\b(ALTER|CREATE|DROP|DO|CALL|ROLLBACK)\b", re.IGNORECASE)
"""What may change the types of a database, or change them back."""

_TAKES_ROLE = re.compile(r"\b(ROLE|AUTHORIZATION)\b", re.IGNORECASE)

_JOIN = "\n;\n"
"""A line of its own, because a text may end with a comment."""


class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """asyncpg's connection, whose transactions are savepoints while a step's own transaction is open.

    The step begins with plain BEGIN, so that it costs no round trip of its own; asyncpg's Transaction refuses to
    start inside one, and SQLAlchemy begins through it.
    """

    def transaction(self, **options: Any) -> Any:
        """Return a savepoint inside a transaction, else asyncpg's own transaction."""
        return Savepoint(self) if self.is_in_transaction() else super().transaction(**options)

    def get_reset_query(self) -> str:
        """Return what makes the session as if it were new: its role, temporary tables and prepared statements, too."""
        return "DISCARD ALL"


class Savepoint:
    """The part of asyncpg's Transaction that SQLAlchemy uses, as a savepoint."""

    _count = 0

    def __init__(self, connection: Connection) -> None:
        Savepoint._count += 1
        self._connection = connection
        self._name = f"migrator_{Savepoint._count}"

    async def start(self) -> None:
        """Set the savepoint."""
        await self._connection.execute(f"SAVEPOINT {self._name}")

    async def commit(self) -> None:
        """Keep what came after it, as part of the transaction around it."""
        await self._connection.execute(f"RELEASE SAVEPOINT {self._name}")

    async def rollback(self) -> None:
        """Undo what came after it."""
        await self._connection.execute(f"ROLLBACK TO SAVEPOINT {self._name}; RELEASE SAVEPOINT {self._name}")


_GIVES_LOCKS_AWAY = re.compile(r"\bpg_advisory_unlock|\bDISCARD\s+ALL\b", re.IGNORECASE)
"""In a statement after which the lock of the whole command may be gone."""


class Link:
    """A connection with an order to it. Errors leave as migrator's, with the line of the revision file."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.turn = asyncio.Lock()
        """Whoever sends something holds it: the driver refuses two statements at once."""
        self._ahead: list[Part] = []
        self._altered = False
        self.other_role = False
        """Whether a script may have taken another role for the rest of its session."""
        self.held_back = False
        """Whether it is we who let nothing be written outside of batches."""
        self.end: Callable[[int], Awaitable[str]] = _unknown
        """Ends a process of the server from beside, and says what it was waiting for."""
        self.lead: Callable[[], str] = str
        """Gives what comes before each text, or raises where nothing may be sent any more."""
        self.watch: Watch | None = None
        """Watches the transaction of a step in Python, while its script is at work."""
        self.guard = ""
        """Asks whether the advisory lock is still ours, and fails where it is not; "" where there is none."""

    @property
    def alive(self) -> bool:
        """Say whether the connection is open, as far as is known here."""
        try:
            return not self.connection.is_closed()
        except asyncpg.InterfaceError:  # the pool has taken a closed connection back
            return False

    @property
    def reads_only(self) -> bool:
        """Say whether the server, or the settings of this user there, let nothing be written on this connection."""
        if not self.alive or self.held_back:
            return False
        known = self.connection.get_settings()  # the server tells the driver of each change
        return "on" in (getattr(known, name, "") for name in ("in_hot_standby", "default_transaction_read_only"))

    @property
    def in_transaction(self) -> bool:
        """Say whether the server has a transaction open on this connection."""
        return self.alive and bool(self.connection.is_in_transaction())

    def later(self, text: str, path: str = "") -> None:
        """Send this text together with whatever is sent next."""
        self._ahead.append(Part(text, path))

    def forget(self) -> None:
        """Drop what waits to be sent."""
        self._ahead.clear()

    async def execute(self, text: str, doing: str, *, path: str = "", line: int = 1, limit: float | None = None) -> str:
        """Send what waits and this text in one round trip; return the last status, such as `UPDATE 3`.

        `limit` is in seconds: whoever is silent for longer is gone, and the connection is closed.
        """
        parts = [*self._ahead, Part(text, path, line)]
        self._ahead.clear()
        whole = _JOIN.join(part.text for part in parts)
        return str(await self._send(self.connection.execute, (whole,), doing, parts, limit))

    async def execute_with(self, text: str, args: Sequence[Any], doing: str) -> str:
        """Send what waits, then one statement with arguments; return its status."""
        await self.flush(doing)
        return str(await self._send(self.connection.execute, (text, *args), doing, [], None))

    async def fetch(
        self,
        text: str,
        args: Sequence[Any],
        doing: str,
        *,
        path: str = "",
        line: int = 1,
        limit: float | None = None,
    ) -> list[Any]:
        """Send what waits, then one statement with arguments; return its rows."""
        await self.flush(doing)
        return list(await self._send(self.connection.fetch, (text, *args), doing, [Part(text, path, line)], limit))

    async def execute_many(self, text: str, rows: Sequence[Sequence[Any]], doing: str) -> None:
        """Send what waits, then one statement once for each row of arguments, in few round trips."""
        await self.flush(doing)
        await self._send(self.connection.executemany, (text, rows), doing, [], None)

    async def flush(self, doing: str) -> None:
        """Send what waits."""
        if self._ahead:
            await self.execute("", doing)

    @asynccontextmanager
    async def as_ourselves(self, doing: str) -> AsyncIterator[None]:
        """Send what is sent in this block with our own rights, whichever role the script has taken outside of one."""
        if not self.other_role:
            yield
            return
        if self.in_transaction:
            self.later(ASIDE)
            yield
            self.later(BACK)
            return
        self.later(f"BEGIN; {LOCALLY}")
        try:
            yield
        except BaseException:
            self.forget()
            if self.alive:
                await to_the_end(self.execute("ROLLBACK", doing, limit=LIMIT))
            raise
        await self.execute("COMMIT", doing, limit=LIMIT)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Tell the server every few seconds that we live, for the length of a block that may send nothing itself."""
        ended = asyncio.Event()
        keeper = asyncio.create_task(self._keep(ended), name="keep a session alive")
        try:
            yield
        finally:
            ended.set()  # and not cancelled: a late request to cancel could hit the statement after the ping
            await asyncio.wait([keeper])

    async def _keep(self, ended: asyncio.Event) -> None:
        while self.alive:
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await ended.wait()
                return
            with suppress(MigratorError):  # the next statement of the holder meets it, too
                await self.ping()

    async def ping(self) -> None:
        """Tell the server that we live, unless a statement under way says as much. Sends nothing that waits."""
        if self.turn.locked():
            return
        with suppress(StatementFailed):  # a transaction that failed answers, too
            await self._send(self.connection.execute, ("SELECT 1",), "keep the connection", [], LIMIT)

    async def _send(
        self,
        call: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        doing: str,
        parts: list[Part],
        limit: float | None,
    ) -> Any:
        async with self.turn:
            refuse_unsendable(args[0])
            lead = self.lead()
            args = (lead + args[0], *args[1:])
            try:
                async with asyncio.timeout(limit) as scope:
                    await self.heed(args[0])
                    answer = await call(*args)
                    if self.guard and _GIVES_LOCKS_AWAY.search(args[0]):
                        await self.connection.execute(self.guard)
                    return answer
            except Exception as error:
                late = isinstance(error, TimeoutError) and scope.expired()
                waits = await self._give_up() if late else ""
                known = self._explained(error, doing, parts, len(lead))
                if waits and known is not None:
                    known.message = f"{known.message}; {waits}"
                    known.args = (known.message,)
                if isinstance(error, ValueError | ArithmeticError) and known is None and call == self.connection.fetch:
                    known = undecodable(error, await self._attributes(args[0]), doing)
                if known is None:
                    raise
                raise known from error

    async def _give_up(self) -> str:
        """Close the connection, and end its process on the server; return what that was waiting for, "" if unknown."""
        pid = self.connection.get_server_pid()
        self.connection.terminate()
        return await self.end(pid)

    def take_in(self, text: str) -> None:
        """Take in a text of a script, which may take another role for the rest of its session."""
        self.other_role = self.other_role or _TAKES_ROLE.search(text) is not None

    async def heed(self, text: str) -> None:
        """Take in a text that the holder of the turn is about to send."""
        if self._altered:
            await self.connection.reload_schema_state()  # asyncpg keeps what a composite type had for columns
        self._altered = _ALTERS.search(text) is not None
        if self.watch is not None:
            await self.watch.heed(self.connection, text)

    async def _attributes(self, text: str) -> Sequence[Any]:
        """Return the columns of a query's result as the server describes them, () if it does not."""
        try:
            async with asyncio.timeout(LIMIT):
                statement = await self.connection.prepare(text)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return ()
        columns: Sequence[Any] = statement.get_attributes()
        return columns

    def _explained(self, error: Exception, doing: str, parts: list[Part], before: int) -> MigratorError | None:
        known = translate(error, doing, link=self)
        if known is None:
            return None
        if isinstance(known, DatabaseError):
            _place(known, getattr(error, "position", None), parts, before)
        return known


async def _unknown(pid: int) -> str:
    del pid
    return ""


def _place(error: DatabaseError, position: str | None, parts: list[Part], before: int) -> None:
    """Put file and line into an error, from the character (from 1) of the text where the server names one.

    `before` is how many characters came before the parts.
    """
    left = int(position) - 1 - before if position else None
    for part in parts:
        if left is None:
            part.explain(error, None)
        elif left <= len(part.text):
            part.explain(error, left)
            return
        else:
            left -= len(part.text) + len(_JOIN)
