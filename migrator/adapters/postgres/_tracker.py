"""The tracker of one PostgreSQL database."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._place import TRACKER, Copies, Place, copies, find, refuse_newer
from migrator.adapters.postgres._queries import VERSION, Queries
from migrator.adapters.postgres._rows import asked, run_of, selected, total_of
from migrator.core.errors import DatabaseError, StatementFailed, TrackerDamaged, TrackerRefused, TransactionEscaped
from migrator.core.protocols import TrackerPlace
from migrator.core.revision import Direction
from migrator.core.run import COLUMNS, EFFECTS, TRANSITIONS, Run, Status
from migrator.core.runs import LISTED, RunFilter
from migrator.core.schedule import Firing

if TYPE_CHECKING:
    from migrator.core.batch import Checkpoint, Control, FailedRow
    from migrator.core.stats import Total

COUNTING = 120.0
"""Seconds that counting all runs may take."""

_REFUSED, _LOST = '"0 runs: refused"', '"0 runs: lost"'
"""In the message of the error that `start` and `finish` make where they write nothing; see queries.sql."""

_MISSING_COLUMN = "42703"
_MISSING = (_MISSING_COLUMN, "42P01")
"""SQLSTATEs of a column or a table that is not there."""

_STATE = tuple(name for name in COLUMNS if name != "source")
"""What the state is derived from."""


class PostgresTracker:
    """Implements `core.protocols.Tracker` on one link.

    `place` is where it is, None where there is none yet; `wanted` is the schema for a new one, "" for the current one.
    """

    def __init__(self, name: str, link: Link, queries: Queries, place: Place | None, wanted: str) -> None:
        self._name = name
        self._link = link
        self.queries = queries
        self._place = place
        self._wanted = wanted
        self._version = 0
        self._copies = Copies()
        self._prepared = False
        self.open_run = ""
        self.before_end: Callable[[], str] = str
        """Gives what comes before the end of a run in the step's transaction."""
        self.used = True
        """Whether the lock's row says that there have been runs; the first run writes it."""

    @property
    def place(self) -> TrackerPlace:
        """Where it is."""
        version = self._version or self._place.version if self._place else 0
        return TrackerPlace(f"schema {self.queries.schema}", version, VERSION, str(self._copies))

    @property
    def _readable(self) -> bool:
        return self._place is not None and TRACKER in self._place.names

    async def create(self) -> None:
        """Create the tracker where there is none; one of an older version stays what it is."""
        if self._place is None:
            await self._settle()

    async def ensure(self) -> None:
        """Create the tracker, or move it to the newest version, or add what it lacks; the lock must be held.

        Raises LockHeld where somebody else is at work in it.
        """
        await self.create()
        await self._refuse_copy()
        try:
            sealed = await self._check_version()
        except DatabaseError as error:
            if error.code not in _MISSING:
                raise
            sealed = False
        place = self._place
        if not sealed or self._version < VERSION or place is None or place.version < VERSION or place.lacks:
            await self._settle()

    async def _refuse_copy(self) -> None:
        """Raise TrackerDamaged where a subscription writes the tracker: it does not say what is applied here."""
        found = await copies(self._link, self.queries, self._place) if self._place else Copies()
        if found.subscriptions:
            raise TrackerDamaged(
                f"the tracker of {self._name} in schema {self.queries.schema} is "
                f"{Copies(subscriptions=found.subscriptions)}",
                state="Nothing was changed.",
                hint="Leave the tables script_run_* out of the publication and refresh the subscription; then empty "
                "the tracker here and say what is applied: `migrator stamp ID`.",
            )

    async def _settle(self) -> None:
        from migrator.adapters.postgres._layout import Layout

        self._place = await Layout(self._name, self._link, self.queries, self._wanted).settle()
        self._version = VERSION

    async def prepare(self) -> None:
        """Let the server plan the two statements of every run once; the lock must be held on this connection."""
        texts = [self.queries.prepare(name) for name in ("start", "finish")]
        await self._link.execute(";".join(["DEALLOCATE ALL", *texts]), "prepare the tracker", limit=LIMIT)
        self._prepared = True

    def forget_plans(self) -> None:
        """Send whole statements from here on: a script may drop what `prepare` made."""
        self._prepared = False

    async def runs(self) -> list[Run]:
        """Return the live runs, oldest first."""
        if not self._readable:
            return []
        await self._check_version()
        if self._place is not None:
            self._copies = await copies(self._link, self.queries, self._place)
        return [run_of(self._name, row) for row in await self._selected("runs", {}, _STATE)]

    async def emptied(self) -> str:
        """Return how the runs were lost, "" where there never were any."""
        if self._place is None:
            return ""
        where = f"in schema {self._place.schema}"
        if not self._readable:
            return f"the tracker of {self._name} is damaged: the table {TRACKER} {where} is gone"
        if not self._place.has_lock:
            return f"the tracker of {self._name} was emptied, and its lock's table {where} is gone"
        text = self.queries.text("emptied", {"tracker": self.queries.table("{tracker}")})
        rows = await self._link.fetch(text, (), "read the tracker", limit=LIMIT)
        return f"the tracker of {self._name} {where} was emptied: it had runs, and none is left" * int(rows[0]["used"])

    async def sources(self, revisions: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Return path and text of applied revisions, as they ran."""
        if not self._readable:
            return {}
        text = self.queries.text("sources", {"revisions": list(revisions)})
        rows = await self._link.fetch(text, (), "read the tracker", limit=LIMIT)
        return {row["revision"]: (row["path"], row["source"]) for row in rows}

    async def page(
        self, wanted: RunFilter, *, after: str = "", limit: int = 100, columns: Sequence[str] = LISTED
    ) -> list[Run]:
        """Return runs, superseded ones too, newest first."""
        if not self._readable:
            return []
        await self._check_version()
        return [run_of(self._name, row) for row in await self._selected("page", asked(wanted, after, limit), columns)]

    async def totals(self, wanted: RunFilter) -> "list[Total]":
        """Return how many runs there are of each sort."""
        if not self._readable:
            return []
        await self._check_version()
        text = self.queries.text("totals", asked(wanted, "", 0))
        return [total_of(row) for row in await self._link.fetch(text, (), "count the runs", limit=COUNTING)]

    async def delete(self, run_ids: Sequence[str]) -> int:
        """Delete those of these runs that are not live, and commit."""
        if not self._readable:
            return 0
        text = self.queries.text("delete", {"ids": list(run_ids)})
        return int((await self._link.fetch(text, (), "delete runs", limit=LIMIT))[0]["runs"])

    async def checkpoints(self, origin: str) -> "list[Checkpoint]":
        """Return how far the loops of a long change have come."""
        from migrator.adapters.postgres._kept import checkpoint_of

        return [checkpoint_of(row) for row in await self._kept("checkpoints", origin)]

    async def control(self, origin: str) -> "Control":
        """Return what people want of a long change now."""
        from migrator.adapters.postgres._kept import control
        from migrator.core.batch import Control

        return await control(self._link, self.queries, origin) if self._place else Control()

    async def ask(self, origin: str, control: "Control") -> None:
        """Put down what people want of a long change, and commit."""
        if self._place is None:
            raise TrackerRefused(f"{self._name} has no tracker, so no long change to ask anything of")
        text = self.queries.text("ask", {**vars(control), "origin": origin})
        await self._link.execute(text, "ask something of the change", limit=LIMIT)

    async def failures(self, origin: str) -> "list[FailedRow]":
        """Return the rows that the loops of a long change passed over, oldest first."""
        from migrator.adapters.postgres._kept import failed_of

        return [failed_of(row) for row in await self._kept("failures", origin)]

    async def _kept(self, name: str, origin: str) -> list[Any]:
        if not self._readable:
            return []
        text = self.queries.text(name, {"origin": origin})
        return await self._link.fetch(text, (), "read what is kept of the change", limit=LIMIT)

    async def start(self, run: Run) -> None:
        """Insert a pending run and commit."""
        await self._send(self._start_text(run), run, "record the start of the run")

    async def finish(self, run: Run, following: Run | None = None) -> None:
        """Write the end of a run; in an open transactional step this waits for the commit."""
        _need_end(run)
        texts = [self._finish_text(run)]
        if following is not None:
            texts.append(self._start_text(following))
        if self.open_run:
            for text in (self.before_end(), *texts):
                self._link.later(text)
        else:
            await self._send(f"BEGIN;\n{';'.join(texts)};\nCOMMIT", run, "record the end of the run")

    async def record(self, run: Run) -> None:
        """Insert a run that has ended already, and commit."""
        _need_end(run)
        text = f"BEGIN;\n{self._start_text(run)};\n{self._finish_text(run)};\nCOMMIT"
        await self._send(text, run, "record the run")

    async def mark(self, run: Run) -> None:
        """Write how far a pending run is, and its log so far, and commit. TrackerRefused where it was overtaken."""
        await self._send(self.queries.text("mark", vars(run)), run, "record how far the run is")

    async def note(self, run: Run) -> None:
        """Insert a run that has ended and changes no state, and commit."""
        _need_end(run)
        values = {**vars(run), "duration_ms": run.duration_ms or 0.0}
        await self._link.execute(self.queries.text("note", values), "record the run", limit=LIMIT)

    async def firings(self) -> list[Firing]:
        """Return the last firing of every schedule."""
        if not self._readable:
            return []
        rows = await self._link.fetch(self.queries.text("firings"), (), "read the schedules", limit=LIMIT)
        return [Firing(**row) for row in rows]

    async def claim_firing(self, firing: Firing, last: str) -> bool:
        """Write a firing for whoever knows the one before it."""
        await self.create()
        text = self.queries.text("claim_firing", {**vars(firing), "last": last})
        return bool(await self._link.fetch(text, (), "claim the firing", limit=LIMIT))

    async def end_firing(self, name: str, due: str, word: str, message: str) -> None:
        """Write how a firing ended."""
        values = {"name": name, "due": due, "word": word, "message": message}
        await self._link.execute(self.queries.text("end_firing", values), "record the firing", limit=LIMIT)

    async def explain(self, error: DatabaseError, run: Run) -> DatabaseError:
        """Return what a refused write means; the error itself where it was refused for another reason."""
        cause = error.__cause__
        if isinstance(cause, asyncpg.UniqueViolationError) and cause.table_name == TRACKER:
            return TrackerRefused(
                f"the tracker of {self._name} has another pending run, or {run.revision} is applied by now",
                code=error.code,
                hint="`migrator status` shows who is at work.",
            )
        if error.code in _MISSING:
            return await self._damaged(error, run)
        refused = isinstance(cause, asyncpg.InvalidTextRepresentationError)
        if not refused or not (_REFUSED in str(cause) or _LOST in str(cause)):
            return error
        text = self.queries.text("standing", {"run_id": run.run_id})
        async with self._link.as_ourselves("read the tracker"):
            (row,) = await self._link.fetch(text, (), "read the tracker", limit=LIMIT)
        if row["fence"] == run.fence and row["status"] == Status.PENDING and self.open_run:
            return self._removed(run) if _LOST in str(cause) else _escaped(run)
        if row["fence"] is None or (row["fence"] == run.fence and row["status"] is None):
            return self._lost("was emptied while this command was at work", error.code)
        why = "another process holds the lock" if row["fence"] != run.fence else f"run {run.run_id} is not pending"
        return TrackerRefused(f"the tracker of {self._name} refused to record run {run.run_id}: {why}", code=error.code)

    async def _damaged(self, error: DatabaseError, run: Run) -> DatabaseError:
        """Return what a missing table means: the tracker's own, or the error of a script that rode with it."""
        _, place = await find(self._link, self._name, self._wanted)
        if place is None or place.lacks:
            return self._lost("was dropped, in whole or in part, while this command was at work", error.code)
        return self._removed(run) if self.open_run and f"{self.queries.schema}.script_run_" in error.message else error

    def _removed(self, run: Run) -> StatementFailed:
        return StatementFailed(
            f"{run.path}: the script removed the tracker's record of its own run",
            state="The transaction was rolled back, and the tracker is as it was.",
            hint="Leave the tables script_run_* alone, also where a revision empties or drops all tables.",
        )

    def _lost(self, what: str, code: str) -> TrackerDamaged:
        return TrackerDamaged(
            f"the tracker of {self._name} in schema {self.queries.schema} {what}",
            code=code,
            hint="Find out what did it. Then restore the tracker, or say what is applied: `migrator stamp ID`.",
        )

    async def _send(self, text: str, run: Run, doing: str) -> None:
        guard = f"{self._link.guard};\n" if self._link.guard and not run.transactional else ""
        try:
            async with self._link.as_ourselves(doing):
                await self._link.execute(guard + text, doing, limit=LIMIT)
        except DatabaseError as error:
            await self._roll_back()
            raise await self.explain(error, run) from error.__cause__

    async def _roll_back(self) -> None:
        if self._link.in_transaction:
            await self._link.execute("ROLLBACK", "roll back", limit=LIMIT)

    async def _selected(self, name: str, values: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
        """Return rows with those of the columns that the table has: an older or a damaged tracker may lack some."""
        # The list of columns comes first in the text, so that no value of the filter is taken for its place.
        text = self.queries.text(name, values)
        try:
            whole = text.replace("{columns}", selected(columns), 1)
            return await self._link.fetch(whole, (), "read the tracker", limit=LIMIT)
        except DatabaseError as error:
            if error.code != _MISSING_COLUMN:
                raise
        table = self.queries.text("columns", {"table": self.queries.table("{tracker}")})
        there = {row["name"] for row in await self._link.fetch(table, (), "read the tracker", limit=LIMIT)}
        some = text.replace("{columns}", selected([each for each in columns if each in there]), 1)
        return await self._link.fetch(some, (), "read the tracker", limit=LIMIT)

    async def _check_version(self) -> bool:
        """Read the version; False where the lock's row is missing. Raises TrackerNewer."""
        if self._place is not None and not self._place.has_lock:
            return False
        rows = await self._link.fetch(self.queries.text("version"), (), "read the tracker's version", limit=LIMIT)
        if rows:
            self._version = int(rows[0]["version"])
            refuse_newer(self._name, self._version, rows[0]["made_by"])
        return bool(rows)

    def _start_text(self, run: Run) -> str:
        text = self._write("start", vars(run))
        if self.used:
            return text
        self.used = True
        return f"{self.queries.text('used', {'fence': run.fence})};\n{text}"

    def _write(self, name: str, values: Mapping[str, Any]) -> str:
        return self.queries.execute(name, values) if self._prepared else self.queries.text(name, values)

    def _finish_text(self, run: Run) -> str:
        values = {**vars(run), "transaction": self.open_run}
        text = self._write("finish", values)
        if run.cursor is not None:  # no slice of it begins another batch
            taken = {"origin": run.origin, "run_id": run.run_id, "name": None}
            text = f"{self.queries.text('withdraw', taken)};\n{text}"
        if run.attempt == 1 and run.direction is Direction.UPGRADE:
            return text  # the first run of a revision has nothing to retire
        retire = "retire_all" if run.status is Status.SUCCESS else "retire_failed"
        return f"{self.queries.text(retire, values)};\n{text}"


def _escaped(run: Run) -> TransactionEscaped:
    return TransactionEscaped(
        f"{run.path}: the script ended the transaction it ran in (COMMIT or ROLLBACK)",
        state="What it did before that is committed; the rest is not.",
        hint="Remove COMMIT and ROLLBACK from it, or say `transaction = False`.",
    )


def _need_end(run: Run) -> None:
    if (Status.PENDING, run.status) not in TRANSITIONS or run.effect not in EFFECTS[run.status]:
        raise TrackerRefused(f"run {run.run_id} cannot become {run.status} with the effect {run.effect}")
