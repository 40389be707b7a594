"""Checkpoints of long changes on PostgreSQL: a row beside the tracker, moved in the transaction of its batch."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg

from migrator.adapters._shared import to_the_end
from migrator.adapters.postgres._errors import from_server, translate
from migrator.adapters.postgres._kept import checkpoint_of, control, place, values_of
from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._queries import Queries
from migrator.adapters.postgres._settings import ASIDE, BACK, GIVE_BACK, KEEP, LOCALLY
from migrator.core.batch import Checkpoint, Control, Position
from migrator.core.errors import DatabaseError, MigratorError, TrackerRefused

if TYPE_CHECKING:
    from migrator.adapters.postgres._context import Context

COMMIT = 60.0
"""Seconds that a commit may take; after them the connection counts as lost."""

OPEN = 20.0
"""Seconds to wait until the batches of slices that are open have ended."""

ROLLBACK = 6.0
"""Seconds for a rollback; after them the connection is closed, which does the same."""


class PostgresLedger:
    """Implements `core.batch.Ledger` on the link of a step."""

    def __init__(self, link: Link, queries: Queries, context: "Context") -> None:
        self._link = link
        self._queries = queries
        self._context = context

    @property
    def exactly_once(self) -> bool:
        """Say yes."""
        return True

    async def claim(self, checkpoint: Checkpoint, *, reopen: bool = False) -> Checkpoint:
        """Make the checkpoint, or take it over from an earlier holder; commits."""
        text = self._queries.text("claim", {**values_of(checkpoint), "reopen": reopen})
        self._link.later(f"BEGIN READ WRITE; {LOCALLY}")
        try:
            rows = await self._link.fetch(text, (), "claim the checkpoint", limit=LIMIT)
            await to_the_end(self._link.execute("COMMIT", "claim the checkpoint", limit=COMMIT))
        except BaseException:
            await to_the_end(self._roll_back())
            raise
        if not rows:
            raise _overtaken(checkpoint)
        return checkpoint_of(rows[0])

    async def join(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint of a slice, if it is still this run's."""
        text = self._queries.text("join", values_of(checkpoint))
        async with self._link.as_ourselves("read the checkpoint"):
            rows = await self._link.fetch(text, (), "read the checkpoint", limit=LIMIT)
        if not rows:
            raise _overtaken(checkpoint)
        return checkpoint_of(rows[0])

    async def withdraw(self, checkpoint: Checkpoint) -> None:
        """Take the checkpoints of a loop away from its run; commits. TransactionAborted where a batch does not end."""
        text = self._queries.text("withdraw", values_of(checkpoint))
        begin = f"BEGIN READ WRITE; {LOCALLY}; SET LOCAL lock_timeout = '{OPEN:g}s'"
        try:
            await to_the_end(self._link.execute(f"{begin}; {text}; COMMIT", "end the slices", limit=OPEN + ROLLBACK))
        except DatabaseError:
            await to_the_end(self._roll_back())
            raise

    @asynccontextmanager
    async def moved(self, old: Checkpoint, new: Checkpoint, *, seconds: float = 0.0) -> AsyncIterator[None]:
        """Open a short transaction in which the checkpoint has moved already; see the protocol."""
        limit = f"SET LOCAL statement_timeout = {int(seconds * 1000)};" if seconds else ""
        text = self._queries.text("moved", {**values_of(new), "was": place(old.cursor)})
        try:
            if self._link.other_role:
                text = f"{ASIDE}; {text}; {BACK}"
            keep = f"{KEEP};" if self._context.pooled else ""
            await self._begin(f"BEGIN READ WRITE; {keep} {limit} {text}", new)
            yield
            await self._context.settle()
            if self._context.pooled:
                self._link.later(GIVE_BACK)
            await to_the_end(self._link.execute("COMMIT", "commit the batch", limit=COMMIT))
        except BaseException as error:
            known = translate(error, "run the batch", link=self._link) if from_server(error) else None
            await to_the_end(self._roll_back())
            if known is None:
                raise
            raise known from error

    async def failed(self, checkpoint: Checkpoint, key: Position, error: str) -> None:
        """Keep the key of a row that was passed over."""
        values = {**values_of(checkpoint), "key": place(key), "error": error}
        async with self._link.as_ourselves("record the row"):
            await self._link.execute(self._queries.text("failed_row", values), "record the row", limit=LIMIT)

    async def mended(self, checkpoint: Checkpoint, key: Position) -> None:
        """Forget the key of a row that is done by now."""
        text = self._queries.text("mended", {**values_of(checkpoint), "key": place(key)})
        async with self._link.as_ourselves("forget the row"):
            rows = await self._link.fetch(text, (), "forget the row", limit=LIMIT)
        if not rows:
            raise _overtaken(checkpoint)

    async def control(self, origin: str) -> Control:
        """Return what people want of this change now."""
        async with self._link.as_ourselves("ask what is wanted"):
            return await control(self._link, self._queries, origin)

    async def _begin(self, text: str, new: Checkpoint) -> None:
        try:
            await self._link.execute(text, "begin the batch", limit=LIMIT)
        except DatabaseError as error:
            if isinstance(error.__cause__, asyncpg.InvalidTextRepresentationError):
                raise _overtaken(new) from error.__cause__
            raise

    async def _roll_back(self) -> None:
        self._link.forget()
        if self._link.alive:
            with suppress(MigratorError):
                await self._link.execute("ROLLBACK", "roll the batch back", limit=ROLLBACK)


def _overtaken(checkpoint: Checkpoint) -> TrackerRefused:
    return TrackerRefused(
        f"the checkpoint of {checkpoint.name} was moved by another process, or the run has ended",
        state="This batch was rolled back; what the checkpoint says is done.",
        hint="Run the command again; it waits for the new holder and continues at the checkpoint.",
    )
