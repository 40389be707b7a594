"""The tracker: one document a run, and the rules that the database itself keeps.

Two unique partial indexes keep one pending run in the database and one live success of a revision; the conditional
updates keep the transitions; the fence is raised by whoever takes the lock over, and every write first changes a
counter in it, so that a write with an old fence and a takeover can never both happen.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError, OperationFailure, WriteError

from migrator.adapters.mongo._changes import Changes
from migrator.adapters.mongo._errors import translated
from migrator.adapters.mongo._home import FENCE, find
from migrator.adapters.mongo._rows import (
    CHECKPOINTS,
    LOCK,
    SCHEDULE,
    TRACKER,
    VERSION,
    asked,
    counted,
    document,
    firing_of,
    projected,
    run_of,
    total_of,
)
from migrator.adapters.mongo._work import SHORT, Documents, Work
from migrator.core.errors import ConnectionLost, StatementTimeout, TrackerDamaged, TrackerRefused
from migrator.core.protocols import TrackerPlace
from migrator.core.revision import Direction
from migrator.core.run import EFFECTS, TRANSITIONS, Effect, Kind, Run, Status
from migrator.core.runs import LISTED, RunFilter
from migrator.core.schedule import Firing

if TYPE_CHECKING:
    from migrator.core.stats import Total

LIVE = {"superseded_by": ""}
RULES = frozenset({"one_pending", "one_success"})
"""The indexes by which the server keeps the rules."""

_UNAUTHORIZED = 13
LIMIT = 3 * SHORT
"""Seconds that any call here may take, repetitions and all; ending what it began has limits of its own."""


class MongoTracker(Changes):
    """The runs of one database, in two collections beside what they describe. `name` is the configured name."""

    def __init__(self, work: Work, name: str) -> None:
        super().__init__(work, name)

    @property
    def _rows(self) -> Documents:
        return self._work.home.of(TRACKER)

    @property
    def _lock(self) -> Documents:
        return self._work.home.of(LOCK)

    @property
    def _firings(self) -> Documents:
        return self._work.home.of(SCHEDULE)

    async def create(self) -> None:
        """Create the tracker where there is none; one of an older version stays what it is."""
        if not self._work.home.version:
            await self.ensure()

    async def ensure(self) -> None:
        """Create collection, validator and indexes where they are missing, and last the version that says that all of
        it is there.

        Idempotent, and harmless beside another who does the same. Raises TrackerNewer, PermissionDenied.
        """
        with self._told("create the tracker", writing=True):
            await self.look_again()
            self._work.home.refuse_newer(self._name)
            if self._work.home.sealed and await self._keeps_the_rules():
                return
            from migrator.adapters.mongo._moving import make

            await make(self._work.home)
            await self.look_again()

    async def _keeps_the_rules(self) -> bool:
        """Say whether the unique indexes are there, as far as this user may know."""
        try:
            return set(await self._rows.index_information()) >= RULES
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            return True

    async def look_again(self) -> None:
        """Ask where the tracker is: another may have made or moved it."""
        home = self._work.home
        self._work.home = await find(home.db, self._name, "" if home.place is home.db else home.place.name)

    async def runs(self) -> list[Run]:
        """Return the live runs by their start, without source; [] where there is no tracker. Raises TrackerNewer."""
        with self._told("read the tracker"):
            if not self._exists():
                return []
            found = self._rows.find(LIVE, {"source": 0}).sort("seq", 1)
            return [run_of(row, self._name) async for row in found]

    @property
    def place(self) -> TrackerPlace:
        """Where it is."""
        home = self._work.home
        return TrackerPlace(f"the database {home.place.name}", home.version, VERSION)

    async def emptied(self) -> str:
        """Return how the runs were lost, "" where there never were any."""
        home = self._work.home
        if not home.version:
            return ""
        with self._told("read the tracker"):
            fence = await self._lock.find_one(FENCE)
        lost = fence is None or fence["seq"] > 0
        where = f"in the database {home.place.name}"
        return f"the tracker of {self._name} {where} was emptied: it had runs, and none is left" * lost

    async def sources(self, revisions: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Return path and text of these applied revisions as they ran."""
        wanted = {**LIVE, "status": Status.SUCCESS.value, "revision": {"$in": list(revisions)}, "source": {"$ne": ""}}
        with self._told("read the tracker"):
            found = self._rows.find(wanted, {"revision": 1, "path": 1, "source": 1})
            return {row["revision"]: (row["path"], row["source"]) async for row in found}

    async def page(
        self, wanted: RunFilter, *, after: str = "", limit: int = 100, columns: Sequence[str] = LISTED
    ) -> list[Run]:
        """Return runs, superseded ones too, newest first."""
        with self._told("read the tracker"):
            if not self._exists():
                return []
            found = self._rows.find(asked(wanted, after), projected(columns)).sort("_id", -1).limit(limit)
            return [run_of(row, self._name) async for row in found]

    async def totals(self, wanted: RunFilter) -> list["Total"]:
        """Return how many runs there are of each sort."""
        with self._told("count the runs"):
            if not self._exists():
                return []
            found = await self._rows.aggregate(counted(wanted), allowDiskUse=True)
            return [total_of(row) async for row in found]

    async def delete(self, run_ids: Sequence[str]) -> int:
        """Delete those of these runs that are not live."""
        from migrator.adapters.mongo._dropping import drop

        async def write(session: AsyncClientSession) -> int:
            return await drop(self._work.home.place, run_ids, session)

        with self._told("delete runs"):  # nothing depends on the answer: whoever asks again deletes what is left
            return await self._work.together(f"{self._name}: delete runs", write)

    async def start(self, run: Run) -> None:
        """Insert a pending run and commit at once. Raises TrackerRefused, OutcomeUnknown."""

        async def write(session: AsyncClientSession) -> None:
            await self._insert(run, session)

        with self._told("start the run", writing=not self._work.transactions):
            await self._work.together(f"{self._name}: start the run {run.run_id}", write)

    async def finish(self, run: Run, following: Run | None = None) -> None:
        """Write the end of a run, retire what it replaces, and start the following one, all in one commit.

        Joins the transaction of an open step. The run may be a predecessor's that the holder settles: then `run.fence`
        is the holder's. Raises TrackerRefused, OutcomeUnknown.
        """
        self._need_end(run)

        async def write(session: AsyncClientSession) -> None:
            await self.check(run, session)
            await self._end(run, session)
            if following is not None:
                await self._insert(following, session)

        with self._told("finish the run", writing=not self._work.transactions):
            await self._work.together(f"{self._name}: finish the run {run.run_id}", write)

    async def record(self, run: Run) -> None:
        """Insert a run that has ended already, with all that `finish` does, in one commit."""
        self._need_end(run)

        async def write(session: AsyncClientSession) -> None:
            await self._insert(replace(run, status=Status.PENDING, effect=Effect.UNKNOWN), session)
            await self._end(run, session)

        with self._told("record the run", writing=not self._work.transactions):
            await self._work.together(f"{self._name}: record the run {run.run_id}", write)

    async def note(self, run: Run) -> None:
        """Insert a run that has ended and changes no state, and commit."""
        self._need_end(run)
        row = {**document(run, 0), "superseded_by": run.run_id}
        began = {"$subtract": ["$$NOW", {"$literal": int(run.duration_ms or 0)}]}
        with self._told("record the run", writing=True):
            whole = {"$mergeObjects": [{"$literal": row}, {"started_at": began, "finished_at": "$$NOW"}]}
            await self._rows.update_one({"_id": run.run_id}, [{"$replaceWith": whole}], upsert=True)

    async def firings(self) -> list[Firing]:
        """Return the last firing of every schedule."""
        with self._told("read the schedules"):
            return [firing_of(row) async for row in self._firings.find().sort("_id", 1)]

    async def claim_firing(self, firing: Firing, last: str) -> bool:
        """Write a firing for whoever knows the one before it."""
        await self.create()
        row = {name: value for name, value in vars(firing).items() if name not in ("name", "started_at", "finished_at")}
        began = "$$NOW" if firing.word == "running" else {"$ifNull": ["$started_at", None]}
        change = {
            **{name: {"$literal": value} for name, value in row.items()},
            "started_at": began,
            "finished_at": None,
        }
        wanted = {"_id": firing.name, "due": last} if last else {"_id": firing.name, "due": {"$exists": False}}
        with self._told("claim the firing", writing=True):
            try:
                answer = await self._firings.update_one(wanted, [{"$set": change}], upsert=not last)
            except DuplicateKeyError:
                return False
        return bool(answer.modified_count or answer.upserted_id)

    async def end_firing(self, name: str, due: str, word: str, message: str) -> None:
        """Write how a firing ended."""
        said = {"word": {"$literal": word}, "message": {"$literal": message}, "finished_at": "$$NOW"}
        with self._told("record the firing", writing=True):
            await self._firings.update_one({"_id": name, "due": due}, [{"$set": said}])

    async def check(self, run: Run, session: AsyncClientSession) -> int:
        """Refuse an overtaken holder, and hold the fence until the transaction ends. Returns the next place in order.

        The counters make it a write: reading the fence would not conflict with a takeover.
        """
        fence = await self._lock.find_one_and_update(
            {"_id": "fence", "token": run.fence},
            {"$inc": {"beat": 1, "seq": 1}},
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        if fence is None:
            if await self._lock.find_one(FENCE, session=session) is None:
                raise self._lost()
            raise TrackerRefused(
                f"{self._name}: the lock was taken over by somebody else (fence {run.fence} is not the newest)",
                state="This write was refused; nothing of it is in the tracker.",
                hint="Run the command again; it waits for the new holder and reads the tracker first.",
            )
        return int(fence["seq"])

    def _need_end(self, run: Run) -> None:
        if (Status.PENDING, run.status) not in TRANSITIONS or run.effect not in EFFECTS[run.status]:
            raise TrackerRefused(
                f"{self._name}: a run cannot go from pending to {run.status} with the effect {run.effect}"
            )

    async def _insert(self, run: Run, session: AsyncClientSession) -> None:
        row = document(run, await self.check(run, session))
        # An update because only an update can use the server's clock; `seq` in the filter keeps it from changing a row.
        await self._rows.update_one(
            {"_id": run.run_id, "seq": row["seq"]},
            [{"$replaceWith": {"$mergeObjects": [{"$literal": row}, {"started_at": "$$NOW"}]}}],
            upsert=True,
            session=session,
        )

    async def _retire(self, run: Run, session: AsyncClientSession) -> None:
        """End the life of what this run replaces. A failure without an effect leaves those with one alive, but
        for a person's word.
        """
        others: dict[str, Any] = {"status": {"$ne": Status.PENDING.value}}
        if run.status is Status.FAILED:
            others = {"status": Status.FAILED.value}
            if run.effect is Effect.NONE and run.kind is not Kind.RESOLVE:
                others["effect"] = Effect.NONE.value
        change: dict[str, Any] = {"superseded_by": {"$literal": run.run_id}}
        if run.status is Status.SUCCESS and run.direction is Direction.DOWNGRADE:
            taken_back = {"$eq": ["$status", Status.SUCCESS.value]}
            change["status"] = {"$cond": [taken_back, Status.ROLLED_BACK.value, "$status"]}
            change["effect"] = {"$cond": [taken_back, Effect.NONE.value, "$effect"]}
        wanted = {"revision": run.revision, **LIVE, **others, "_id": {"$ne": run.run_id}}
        await self._rows.update_many(wanted, [{"$set": change}], session=session)

    async def _end(self, run: Run, session: AsyncClientSession) -> None:
        if run.attempt > 1 or run.direction is Direction.DOWNGRADE:  # the first upgrade has nothing to retire
            await self._retire(run, session)
        told = {name: str(getattr(run, name)) for name in ("status", "effect", "reason", "error", "log_file")}
        said: dict[str, Any] = {name: {"$literal": value} for name, value in told.items()}
        said["result"] = {"$literal": None if run.result is None else dict(run.result)}
        if run.progress is not None:
            said["progress"] = {"$literal": dict(run.progress)}
        spent = {"$toDouble": {"$subtract": ["$$NOW", "$started_at"]}}
        # A row of a predecessor has a smaller fence; that ours is the newest was checked just now.
        wanted = {"_id": run.run_id, "status": Status.PENDING.value, "fence": {"$lte": run.fence}}
        change = [{"$set": {**said, "duration_ms": spent, "finished_at": "$$NOW"}}]
        answer = await self._rows.update_one(wanted, change, session=session)
        if run.cursor is not None:  # no slice of it begins another batch
            mine = {"origin": run.origin, "run_id": run.run_id}
            kept = self._work.home.of(CHECKPOINTS)
            await kept.update_many(mine, {"$set": {"run_id": ""}}, session=session)
        if answer.matched_count != 1:
            if await self._rows.find_one({"_id": run.run_id}, {"_id": 1}, session=session) is None:
                raise self._lost()
            raise TrackerRefused(
                f"{self._name}: run {run.run_id} is not pending any more",
                state="This write was refused; nothing of it is in the tracker.",
                hint="Somebody else settled the run. Look at `migrator runs`.",
            )

    def _lost(self) -> TrackerDamaged:
        return TrackerDamaged(
            f"the tracker of {self._name} in the database {self._work.home.place.name} was emptied or dropped "
            "while this command was at work",
            hint="Find out what did it. Then restore the tracker, or say what is applied: `migrator stamp ID`.",
        )

    def _exists(self) -> bool:
        """Say whether there is a tracker. Raises TrackerNewer."""
        self._work.home.refuse_newer(self._name)
        return self._work.home.version > 0

    @contextmanager
    def _told(self, what: str, *, writing: bool = False) -> Iterator[None]:
        try:
            with translated(f"{self._name}: {what}", writing=writing), pymongo.timeout(LIMIT), self._obeyed():
                yield
        except StatementTimeout as error:
            if self._work.session.in_transaction:
                raise  # the step's own limit, which ends the step
            # Ours: the step did not fail, the server cannot be told. Whoever comes next finds out what was done.
            raise ConnectionLost(
                f"{error.message}: the server is too slow to be told",
                hint="Run the command again; it first reads what the tracker says.",
            ) from error

    @contextmanager
    def _obeyed(self) -> Iterator[None]:
        try:
            yield
        except DuplicateKeyError as error:
            raise self._refused(error) from error
        except WriteError as error:
            if error.code != 121:  # noqa: PLR2004 - DocumentValidationFailure
                raise
            raise self._refused(error) from error

    def _refused(self, error: WriteError) -> TrackerRefused:
        index = "one_pending" if "one_pending" in str(error) else "one_success" if "one_success" in str(error) else ""
        reasons = {
            "one_pending": "another run is pending",
            "one_success": "the revision has a live success already",
        }
        reason = reasons.get(index, "a run of this id exists, or the row is not of the tracker's form")
        return TrackerRefused(
            f"{self._name}: the tracker refuses the write: {reason}",
            code=str(error.code or ""),
            hint="Look at `migrator runs`.",
        )
