"""Checkpoints of long changes on MongoDB: a document beside the tracker, moved in the transaction of its batch.

The move comes first in it, and only from the cursor and the fence that are known here. Whoever takes the lock over
raises the fence of every checkpoint that is not done, so a batch of an overtaken holder conflicts with that or finds
nothing to move; batches of different slices have nothing in common and may commit side by side.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pymongo
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from migrator.adapters.mongo._errors import translated
from migrator.adapters.mongo._kept import checkpoint_of, control_of, key_of, place, values_of
from migrator.adapters.mongo._rows import CHECKPOINTS, CONTROLS, FAILURES
from migrator.adapters.mongo._tracker import MongoTracker
from migrator.adapters.mongo._work import SHORT, Work, limited, patiently
from migrator.core.batch import Checkpoint, Control, Position
from migrator.core.errors import MigratorError, OutcomeUnknown, TrackerRefused, TransactionAborted
from migrator.core.run import Run

LINEAR = ReadConcern("linearizable")
"""Of the question whether a commit arrived: what is answered will not be taken back."""

OPEN = 20.0
"""Seconds to wait until the batches of slices that are open have ended."""

_LATE = "Raise `target` of the loop, or `max_rows` down to what the server can do in that time."


class MongoLedger:
    """Implements `core.batch.Ledger` on the session of a step."""

    def __init__(self, work: Work, tracker: MongoTracker, name: str, run: Run) -> None:
        self._work = work
        self._tracker = tracker
        self._name = name
        self._run = run
        self._checkpoints = work.home.of(CHECKPOINTS)

    @property
    def exactly_once(self) -> bool:
        """Say whether there are transactions: without them the checkpoint follows its batch."""
        return self._work.transactions

    async def claim(self, checkpoint: Checkpoint, *, reopen: bool = False) -> Checkpoint:
        """Make the checkpoint, or take it over from an earlier holder; commits."""
        taken: dict[str, Any] = {"run_id": checkpoint.run_id, "fence": checkpoint.fence, "waiting": ""}
        taken |= {"done": False} if reopen else {}
        blank = {name: value for name, value in values_of(checkpoint).items() if name not in taken}
        change = {
            "$set": {**taken, "lsid": self._work.lsid},
            "$setOnInsert": blank,
            "$currentDate": {"updated_at": True},
        }
        older = {"_id": key_of(checkpoint), "fence": {"$lte": checkpoint.fence}}

        async def write(session: AsyncClientSession) -> Any:
            await self._tracker.check(self._run, session)
            return await self._checkpoints.find_one_and_update(
                older, change, upsert=True, return_document=ReturnDocument.AFTER, session=session
            )

        with translated(f"{self._name}: claim the checkpoint of {checkpoint.name}", writing=not self.exactly_once):
            try:
                return checkpoint_of(await self._work.together(f"{self._name}: claim the checkpoint", write))
            except DuplicateKeyError as error:  # it has a newer fence, so the filter did not find it
                raise _overtaken(checkpoint) from error

    async def join(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint of a slice, if it is still this run's, and let it name the session that walks it."""
        mine = {"_id": key_of(checkpoint), "run_id": checkpoint.run_id, "fence": checkpoint.fence}
        change = {"$set": {"lsid": self._work.lsid}}
        with translated(f"{self._name}: read the checkpoint of {checkpoint.name}"):
            row = await patiently(
                lambda: self._checkpoints.find_one_and_update(mine, change, return_document=ReturnDocument.AFTER)
            )
        if row is None:
            raise _overtaken(checkpoint)
        return checkpoint_of(row)

    async def withdraw(self, checkpoint: Checkpoint) -> None:
        """Take the checkpoints of a loop away from its run. The server lets it wait for the batches that are open."""
        mine = {"origin": checkpoint.origin, "name": checkpoint.name, "run_id": checkpoint.run_id}
        with translated(f"{self._name}: end the slices of {checkpoint.name}"), pymongo.timeout(OPEN):
            await self._checkpoints.update_many(mine, {"$set": {"run_id": ""}})

    @asynccontextmanager
    async def moved(self, old: Checkpoint, new: Checkpoint, *, seconds: float = 0.0) -> AsyncIterator[None]:
        """Open a short transaction in which the checkpoint has moved already; see the protocol. `seconds` is the limit
        of its body as a whole.

        Without transactions: the checkpoint is looked at, and moves when the body is done.
        """
        what = f"{self._name}: a batch of {new.name}"
        limit = limited(what, seconds, _LATE)
        if not self.exactly_once:
            with translated(what):
                await self._look(old)
                with limit:
                    yield
                await self._move(old, new, self._work.session)
            return
        try:
            with translated(what, again=True):
                async with self._work.transaction(what, partial(self._move, old, new), limit):
                    yield
        except OutcomeUnknown as error:
            if not await self._arrived(old, new, error):
                raise TransactionAborted(f"{what}: the commit did not arrive") from error

    async def failed(self, checkpoint: Checkpoint, key: Position, error: str) -> None:
        """Keep the key of a row that was passed over."""
        row = {"origin": checkpoint.origin, "name": checkpoint.name, "key": place(key)}
        change = {"$set": {**row, "run_id": checkpoint.run_id, "error": error}, "$currentDate": {"at": True}}
        with pymongo.timeout(SHORT):
            kept = self._work.home.of(FAILURES)
            await kept.update_one({"_id": row}, change, upsert=True, session=self._work.session)

    async def mended(self, checkpoint: Checkpoint, key: Position) -> None:
        """Forget the key of a row that is done by now."""
        row = {"origin": checkpoint.origin, "name": checkpoint.name, "key": place(key)}
        with pymongo.timeout(SHORT):
            kept = self._work.home.of(FAILURES)
            answer = await kept.delete_one({"_id": row}, session=self._work.session)
        if answer.deleted_count != 1:
            raise _overtaken(checkpoint)

    async def control(self, origin: str) -> Control:
        """Return what people want of this change now."""
        kept = self._work.home.of(CONTROLS)
        with translated(f"{self._name}: read what is asked of the change"):
            return control_of(await patiently(lambda: kept.find_one({"_id": origin})))

    async def _move(self, old: Checkpoint, new: Checkpoint, session: AsyncClientSession) -> None:
        change = {"$set": values_of(new), "$currentDate": {"updated_at": True}}
        with pymongo.timeout(SHORT):
            answer = await self._checkpoints.update_one(_from(old), change, session=session)
        if answer.matched_count != 1:
            raise _overtaken(new)

    async def _look(self, old: Checkpoint) -> None:
        if await patiently(lambda: self._checkpoints.find_one(_from(old))) is None:
            raise _overtaken(old)

    async def _arrived(self, old: Checkpoint, new: Checkpoint, doubt: OutcomeUnknown) -> bool:
        """Say whether a commit that was never answered took effect. Its transaction was ended: it cannot any more."""
        linear = self._checkpoints.with_options(read_concern=LINEAR)
        try:
            with translated(f"{self._name}: look for the checkpoint of {new.name}"):
                row = await patiently(lambda: linear.find_one({"_id": key_of(old)}))
        except MigratorError as error:
            raise doubt from error
        found = row and _state(checkpoint_of(row))
        if found not in (_state(old), _state(new)):
            raise _overtaken(new)
        return found == _state(new)


def _from(old: Checkpoint) -> dict[str, Any]:
    return {
        "_id": key_of(old),
        "run_id": old.run_id,
        "fence": old.fence,
        "done": False,
        "cursor": {"$eq": place(old.cursor)},
    }


def _state(checkpoint: Checkpoint) -> tuple[Any, ...]:
    """Return what tells a checkpoint from the one before it; keys do not: a date may lack its zone here."""
    return checkpoint.run_id, checkpoint.fence, checkpoint.batches, checkpoint.skipped, checkpoint.done


def _overtaken(checkpoint: Checkpoint) -> TrackerRefused:
    return TrackerRefused(
        f"the checkpoint of {checkpoint.name} was moved by another process, or the run has ended",
        state="This batch was rolled back; what the checkpoint says is done.",
        hint="Run the command again; it waits for the new holder and continues at the checkpoint.",
    )
