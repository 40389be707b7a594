"""The tracker of one PostgreSQL database."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._queries import Queries
from migrator.adapters.postgres._rows import asked, run_of, selected
from migrator.core.errors import DatabaseError, TrackerNewer, TrackerRefused, TransactionEscaped
from migrator.core.revision import Direction
from migrator.core.run import EFFECTS, TRANSITIONS, Run, Status
from migrator.core.runs import LISTED, RunFilter
from migrator.core.schedule import Firing

if TYPE_CHECKING:
    from migrator.core.batch import Checkpoint, Control, FailedRow

VERSION = 1
"""Of the two tables. A newer one is refused."""

TABLE = "script_run_tracker"
_REFUSED = '"0 runs: refused"'
"""In the message of the error that `start` and `finish` make where they write nothing; see queries.sql."""


class PostgresTracker:
    """Implements `core.protocols.Tracker` on one link."""

    def __init__(self, name: str, link: Link, queries: Queries, *, exists: bool) -> None:
        self._name = name
        self._link = link
        self.queries = queries
        self._exists = exists
        self._prepared = False
        self.open_run = ""

    async def ensure(self) -> None:
        """Create the two tables where they are missing, and check their version."""
        if not self._exists:
            try:
                await self._link.execute(
                    f"BEGIN; {self.queries.text('create')}; COMMIT",
                    f"create the tracker in schema {self.queries.schema}",
                    limit=LIMIT,
                )
            except DatabaseError:
                await self._roll_back()
                raise
            self._exists = True
        await self._check_version()

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
        if not self._exists:
            return []
        await self._check_version()
        rows = await self._link.fetch(self.queries.text("runs"), (), "read the tracker", limit=LIMIT)
        return [run_of(self._name, row) for row in rows]

    async def sources(self, revisions: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Return path and text of applied revisions, as they ran."""
        if not self._exists:
            return {}
        text = self.queries.text("sources", {"revisions": list(revisions)})
        rows = await self._link.fetch(text, (), "read the tracker", limit=LIMIT)
        return {row["revision"]: (row["path"], row["source"]) for row in rows}

    async def page(
        self, wanted: RunFilter, *, after: str = "", limit: int = 100, columns: Sequence[str] = LISTED
    ) -> list[Run]:
        """Return runs, superseded ones too, newest first."""
        if not self._exists:
            return []
        await self._check_version()
        # The list of columns comes first in the text, so that no value of the filter is taken for its place.
        text = self.queries.text("page", asked(wanted, after, limit)).replace("{columns}", selected(columns), 1)
        return [run_of(self._name, row) for row in await self._link.fetch(text, (), "read the tracker", limit=LIMIT)]

    async def delete(self, run_ids: Sequence[str]) -> int:
        """Delete those of these runs that are not live, and commit."""
        if not self._exists:
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

        return await control(self._link, self.queries, origin) if self._exists else Control()

    async def ask(self, origin: str, control: "Control") -> None:
        """Put down what people want of a long change, and commit."""
        if not self._exists:
            raise TrackerRefused(f"{self._name} has no tracker, so no long change to ask anything of")
        text = self.queries.text("ask", {**vars(control), "origin": origin})
        await self._link.execute(text, "ask something of the change", limit=LIMIT)

    async def failures(self, origin: str) -> "list[FailedRow]":
        """Return the rows that the loops of a long change passed over, oldest first."""
        from migrator.adapters.postgres._kept import failed_of

        return [failed_of(row) for row in await self._kept("failures", origin)]

    async def _kept(self, name: str, origin: str) -> list[Any]:
        if not self._exists:
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
            for text in texts:
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
        if not self._exists:
            return []
        rows = await self._link.fetch(self.queries.text("firings"), (), "read the schedules", limit=LIMIT)
        return [Firing(**row) for row in rows]

    async def claim_firing(self, firing: Firing, last: str) -> bool:
        """Write a firing for whoever knows the one before it."""
        await self.ensure()
        text = self.queries.text("claim_firing", {**vars(firing), "last": last})
        return bool(await self._link.fetch(text, (), "claim the firing", limit=LIMIT))

    async def end_firing(self, name: str, due: str, word: str, message: str) -> None:
        """Write how a firing ended."""
        values = {"name": name, "due": due, "word": word, "message": message}
        await self._link.execute(self.queries.text("end_firing", values), "record the firing", limit=LIMIT)

    async def explain(self, error: DatabaseError, run: Run) -> DatabaseError:
        """Return what a refused write means; the error itself where it was refused for another reason."""
        cause = error.__cause__
        if isinstance(cause, asyncpg.UniqueViolationError) and cause.table_name == TABLE:
            return TrackerRefused(
                f"the tracker of {self._name} has another pending run, or {run.revision} is applied by now",
                code=error.code,
                hint="`migrator status` shows who is at work.",
            )
        if not isinstance(cause, asyncpg.InvalidTextRepresentationError) or _REFUSED not in str(cause):
            return error
        row = (
            await self._link.fetch(
                self.queries.text("standing", {"fence": run.fence, "run_id": run.run_id}),
                (),
                "read the tracker",
                limit=LIMIT,
            )
        )[0]
        if row["ours"] and row["pending"] and self.open_run:
            return TransactionEscaped(
                f"{run.path}: the script ended the transaction it ran in (COMMIT or ROLLBACK)",
                state="What it did before that is committed; the rest is not.",
                hint="Remove COMMIT and ROLLBACK from it, or say `transaction = False`.",
            )
        why = "somebody else holds the lock by now" if not row["ours"] else f"run {run.run_id} is not pending"
        return TrackerRefused(f"the tracker of {self._name} refused to record run {run.run_id}: {why}", code=error.code)

    async def _send(self, text: str, run: Run, doing: str) -> None:
        try:
            await self._link.execute(text, doing, limit=LIMIT)
        except DatabaseError as error:
            await self._roll_back()
            raise await self.explain(error, run) from error.__cause__

    async def _roll_back(self) -> None:
        if self._link.in_transaction:
            await self._link.execute("ROLLBACK", "roll back", limit=LIMIT)

    async def _check_version(self) -> None:
        rows = await self._link.fetch(self.queries.text("version"), (), "read the tracker's version", limit=LIMIT)
        found = rows[0]["version"] if rows else VERSION
        if found > VERSION:
            raise TrackerNewer(
                f"the tracker of {self._name} has version {found}, and this migrator knows {VERSION}",
                state="Nothing was changed.",
                hint="Use the newer migrator that wrote it.",
            )

    def _start_text(self, run: Run) -> str:
        return self._write("start", vars(run))

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


def _need_end(run: Run) -> None:
    if (Status.PENDING, run.status) not in TRANSITIONS or run.effect not in EFFECTS[run.status]:
        raise TrackerRefused(f"run {run.run_id} cannot become {run.status} with the effect {run.effect}")
