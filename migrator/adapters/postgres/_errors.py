"""asyncpg's errors, turned into migrator's at the edge of the adapter: the cause kept, row values left out."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from migrator.core.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ConnectionLost,
    DatabaseError,
    DatabaseMissing,
    LockLost,
    MigratorError,
    PermissionDenied,
    ResourcesExhausted,
    StatementFailed,
    StatementTimeout,
    TransactionAborted,
)
from migrator.core.utf8 import is_utf8

if TYPE_CHECKING:
    from migrator.adapters.postgres._link import Link

_BY_STATE: tuple[tuple[str, type[DatabaseError], str], ...] = (
    ("28", AuthenticationFailed, "Check user and password in the address, and the server's pg_hba.conf."),
    ("3D000", DatabaseMissing, "Create it (`createdb NAME`), or correct the name at the end of the address."),
    ("42501", PermissionDenied, "Use a user who may do this, or grant it; `migrator doctor` lists what is needed."),
    ("25006", PermissionDenied, "This server or user is read-only; point the address at the primary."),
    ("25P03", ConnectionLost, "The server's idle_in_transaction_session_timeout ended it; run the command again."),
    ("25P04", ConnectionLost, "Raise the server's transaction_timeout for this user, or do less in one revision."),
    ("53300", ConnectionFailed, "The server has no connection left; try again later or raise max_connections."),
    ("53100", ResourcesExhausted, "Make room on the server's disk, then run the command again."),
    ("53400", ResourcesExhausted, "Raise that limit of the server for this user, or do the work in smaller parts."),
    ("53", ResourcesExhausted, "The server lacks memory or another resource; its log says which."),
    ("40001", TransactionAborted, "Run the command again: another transaction was in the way."),
    ("40P01", TransactionAborted, "Run the command again: it was the victim of a deadlock."),
    (
        "55P03",
        TransactionAborted,
        "Another session held a lock (NOWAIT, or longer than lock_timeout); run the command again.",
    ),
    (
        "57014",
        StatementTimeout,
        "Raise the statement_timeout of the script, its user or the server, or do less at once.",
    ),
    ("57P05", ConnectionLost, "The server's idle_session_timeout ended it; run the command again."),
    ("57P03", ConnectionFailed, "The server is starting up or shutting down; run the command again in a moment."),
    ("57P", ConnectionLost, "The server is shutting down or ended our connection; run the command again."),
    ("08", ConnectionLost, "Run the command again; it finds out what was done."),
)
"""SQLSTATE (or its beginning), what it becomes, what to do. The first match wins; the rest is StatementFailed."""

_NARROWER = frozenset({"date", "time", "timetz", "timestamp", "timestamptz", "interval"})
"""Types of PostgreSQL with values that the Python type of asyncpg does not have."""

GIVEN_AWAY = '"0 locks: gone"'
"""In the message of the error that the query `guarded` makes; see queries.sql."""

_BY_REQUEST = "user request"
"""In the message of SQLSTATE 57014 where a person cancelled the statement, and no time limit did."""

_GONE = re.compile(r"closed|released back to the pool|another operation \(2\)")
"""What asyncpg says of a connection that the server or the network ended; the last after a FATAL while it was idle."""

READ_ONLY = "25006"
"""SQLSTATE of a write in a transaction that only reads."""

_OF_CONNECTION = (AuthenticationFailed, ConnectionFailed, ConnectionLost, DatabaseMissing)
"""What only the connection itself can mean: a script may raise any SQLSTATE, and dblink those of another server."""

_BETWEEN = (
    "The server's log says why it ended the connection between two statements: a restart, a person, or a limit such as "
    "transaction_timeout or idle_in_transaction_session_timeout."
)

_ALTERED = "A type or table that it reads was altered meanwhile; what it read before is forgotten, so run it again."


def translate(
    error: BaseException, doing: str, *, connected: bool = True, link: "Link | None" = None
) -> MigratorError | None:
    """Return migrator's error for a driver's, None where it is none of a driver's: ours stays what it is.

    `doing` completes "could not ...". `connected` is False while a connection is being opened. `link` is our
    connection: while it is open, whatever is told of a connection is told of another.
    """
    if isinstance(error, MigratorError):
        return None
    alive = link is not None and link.alive
    cause = _root(error)
    if isinstance(cause, asyncpg.ConnectionDoesNotExistError) and isinstance(cause.__cause__, asyncpg.PostgresError):
        cause = cause.__cause__  # the server's last words
    if isinstance(cause, asyncpg.PostgresError):
        return _answered(cause, doing, link, ours=not connected or (not alive and _ends_connection(cause)))
    if isinstance(cause, asyncpg.InternalClientError | asyncpg.InterfaceError):
        refused = isinstance(cause, asyncpg.InterfaceError) and connected
        if alive or (refused and not _GONE.search(str(cause))):
            hint = _ALTERED if isinstance(cause, asyncpg.OutdatedSchemaCacheError) else ""
            return StatementFailed(f"could not {doing}: {cause}", hint=hint)
        return _connection_error(cause, doing, connected=connected)
    if isinstance(cause, OSError | TimeoutError) and not alive:
        return _connection_error(cause, doing, connected=connected)
    return None


def _ends_connection(error: asyncpg.PostgresError) -> bool:
    """Say whether the server ended the connection with this, or the driver noticed that it is gone."""
    severity = getattr(error, "severity_en", None) or getattr(error, "severity", None)
    return severity in (None, "FATAL", "PANIC")


def refuse_unsendable(text: str) -> None:
    """Raise StatementFailed for SQL that the protocol cannot carry; asyncpg would lose the connection over it."""
    if is_utf8(text) and "\0" not in text:
        return
    at = next(place for place, letter in enumerate(text, 1) if letter == "\0" or not is_utf8(letter))
    raise StatementFailed(
        f"the SQL has {text[at - 1]!a} at character {at}, which is not valid UTF-8 text for PostgreSQL",
        hint="Remove that character from the statement, or pass bytes as an argument of type bytea.",
    )


def undecodable(error: Exception, attributes: Sequence[Any], doing: str) -> StatementFailed:
    """Return what it means that asyncpg cannot make a Python value of a row; it says neither column nor type."""
    columns = [f"{each.name} ({each.type.name})" for each in attributes if _may_be_undecodable(each.type)]
    if not columns:
        columns = [f"{each.name} ({each.type.name})" for each in attributes]
    where = f"column {columns[0]}" if len(columns) == 1 else f"one of the columns {', '.join(columns)}"
    return StatementFailed(
        f"could not {doing}: {where if columns else 'a column'} has a value that Python cannot represent ({error})",
        hint="Python's dates go from year 1 to 9999 and its times end before 24:00; select such a column as text "
        "(`column::text`).",
    )


def _may_be_undecodable(of: Any) -> bool:
    return of.kind != "scalar" or of.name in _NARROWER


def from_server(error: BaseException) -> bool:
    """Say whether a server refused something, also where SQLAlchemy says so; not what a script met elsewhere."""
    return isinstance(_root(error), asyncpg.PostgresError)


def is_unsent(error: BaseException | None) -> bool:
    """Return whether the driver refused to send: a wrong use of it, or a value that does not fit its type."""
    own = isinstance(error, asyncpg.DataError) and getattr(error, "severity", None) is None  # a server's has one
    return own or isinstance(error, asyncpg.InterfaceError)


@contextmanager
def translated(doing: str, *, connected: bool = True, link: "Link | None" = None) -> Iterator[None]:
    """Turn whatever the driver raises in this block into migrator's errors; see `translate`."""
    try:
        yield
    except Exception as error:
        known = translate(error, doing, connected=connected, link=link)
        if known is None:
            raise
        raise known from error


def _root(error: BaseException) -> BaseException:
    """Return the driver's own error under SQLAlchemy's. A chain of causes may lead back into itself.

    What a script raises of its own, from an error that it caught, is its own error.
    """
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and not any(found is each for each in chain):
        chain.append(found)
        original = getattr(found, "orig", None)
        wrapped = found.__cause__ if type(found).__module__.startswith("sqlalchemy.") else None
        found = original if isinstance(original, BaseException) else wrapped
    kinds = (asyncpg.PostgresError, asyncpg.InterfaceError)
    return next((each for each in chain if isinstance(each, kinds)), error)


def _answered(error: asyncpg.PostgresError, doing: str, link: "Link | None", *, ours: bool) -> MigratorError:
    state = str(getattr(error, "sqlstate", "") or "")
    message = str(error.args[0] if error.args else type(error).__name__)
    if state == "22P02" and GIVEN_AWAY in message:
        return LockLost(
            "the lock of this command was given away by what it ran (pg_advisory_unlock_all or DISCARD ALL)",
            state="Another command may be at work in the database. The step was stopped; what it did in a transaction "
            "is rolled back.",
            hint="Take that statement out of the revision (DISCARD PLANS and RESET ALL give no lock away), then run "
            "the command again: it first finds out what was done.",
        )
    if state == "57014" and _BY_REQUEST in message:
        hint = "Somebody cancelled it on the server; find out why, then run the command again."
        return StatementFailed(f"could not {doing}: {message}", code=state, hint=hint)
    for prefix, kind, hint in _BY_STATE:
        if state.startswith(prefix):
            if not ours and (kind in _OF_CONNECTION or (state == READ_ONLY and link and not link.reads_only)):
                break
            return kind(f"could not {doing}: {message}", code=state, hint=hint)
    server_hint = getattr(error, "hint", None)
    return StatementFailed(f"could not {doing}: {message}", code=state, hint=str(server_hint) if server_hint else "")


def _connection_error(error: BaseException, doing: str, *, connected: bool) -> DatabaseError:
    reason = "no answer in time" if isinstance(error, TimeoutError) else _first_line(error)
    if connected:
        ended = isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError)
        return ConnectionLost(
            f"could not {doing}: the connection is gone ({reason})",
            hint="Run the command again; it finds out what was done." + (f" {_BETWEEN}" if ended else ""),
        )
    return ConnectionFailed(
        f"could not {doing}: {reason}",
        hint="Is the server running, and the host and port right? Then run the command again.",
    )


def _first_line(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text.splitlines()[0]
