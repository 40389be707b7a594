"""Whether a script has ended the transaction that its step runs in, before anything is said of what it left."""

from contextlib import suppress
from typing import Any

import asyncpg

from migrator.core.sql import ends_transaction

_NUMBER = """
    SELECT pg_catalog.split_part(virtualtransaction, '/', 2)::bigint FROM pg_catalog.pg_locks
     WHERE locktype = 'virtualxid' AND pid = pg_catalog.pg_backend_pid()
"""
"""A session counts its transactions; each gets the next number, also one of a single statement."""


class Watch:
    """The identity of a step's transaction, asked for only where a script sends a command that may end it.

    Nothing inside of a transaction can end it but such a command: the server refuses it in blocks and procedures.
    """

    def __init__(self) -> None:
        self.sent = False
        """Whether the script sent a command that may end its transaction."""
        self._number: int | None = None

    async def heed(self, connection: Any, text: str) -> None:
        """Take in a text that is about to be sent, on the connection that is to send it."""
        if self.sent or not ends_transaction(text):
            return
        self.sent = True
        waits = 0 if connection.is_in_transaction() else 1  # BEGIN is sent together with this text
        with suppress(asyncpg.InFailedSQLTransactionError):
            self._number = await connection.fetchval(_NUMBER) + waits

    async def has_ended(self, connection: Any, *, reliable: bool) -> bool:
        """Say after the rollback whether the script had ended the transaction, also where that cannot be excluded.

        `reliable` is False without a connection, and behind a pooler: each transaction may be another session's.
        """
        if not self.sent:
            return False
        if not reliable or self._number is None:
            return True
        first: int = await connection.fetchval(_NUMBER)
        second: int = await connection.fetchval(_NUMBER)  # tells how many transactions the driver needs for a question
        return first - self._number > second - first
