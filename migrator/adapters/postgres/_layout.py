"""Making the tracker, moving it to the newest version, and adding what it lacks: in one transaction, one at a time."""

from contextlib import suppress

from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._place import Place, find, keys, refuse_newer
from migrator.adapters.postgres._queries import TABLES, VERSION, Queries, identifier, literal
from migrator.core.errors import DatabaseError, LockHeld, StatementFailed, TransactionAborted
from migrator.core.release import __version__

_SCRATCH = "pg_temp"


class Layout:
    """The tables of one tracker. `wanted` is the schema that the configuration names, "" for the current one."""

    def __init__(self, name: str, link: Link, queries: Queries, wanted: str) -> None:
        self._name = name
        self._link = link
        self._queries = queries
        self._wanted = wanted

    async def settle(self) -> Place:
        """Make, move or mend the tracker and commit; return where it is.

        Raises LockHeld where somebody is at work in it, TrackerNewer, PermissionDenied. Whatever fails changes nothing.
        """
        try:
            self._link.later(self._queries.text("begin"))
            row, there = await find(self._link, self._name, self._wanted)
            text = await self._made(row["here"]) if there is None else await self._mended(there)
            await self._link.execute(f"{text}; COMMIT", self._doing(), limit=LIMIT)
        except TransactionAborted as error:
            await self._roll_back()
            raise self._held("its tables are being read or written") from error
        except BaseException:
            await self._roll_back()
            raise
        _, place = await find(self._link, self._name, self._wanted)
        if place is None:
            raise StatementFailed(f"the tracker of {self._name} was dropped again as soon as it had been made")
        return place

    async def _made(self, here: str | None) -> str:
        """Return the statements that make a tracker."""
        schema = self._wanted or here
        if schema is None:
            raise StatementFailed(
                f"the search path of {self._name} has no schema, so there is no place for the tracker",
                state="Nothing was changed.",
                hint=f"Set `tracker_schema` in [databases.{self._name}] of migrator.toml, or create the schema.",
            )
        self._queries.move(schema, VERSION)
        text = f"SELECT pg_catalog.to_regnamespace({literal(identifier(schema))}) IS NULL AS absent"
        absent = (await self._link.fetch(text, (), "look for the schema", limit=LIMIT))[0]["absent"]
        return f"{f'CREATE SCHEMA {identifier(schema)};' if absent else ''} {self._filled(0, existed=False)}"

    async def _mended(self, there: Place) -> str:
        """Take the steps to the newest version, and return the statements that add what is missing."""
        self._queries.move(there.schema, there.version)
        version = await self._version(there) if there.has_lock else VERSION
        steps = [self._queries.text(f"step_{number}") for number in range(max(version, 1) + 1, VERSION + 1)]
        self._queries.move(there.schema, VERSION)
        await self._link.execute(";".join([*steps, self._queries.text("create")]), self._doing(), limit=LIMIT)
        return ";".join([*await self._missing(), self._filled(version, existed=True)])

    async def _version(self, there: Place) -> int:
        """Return the version, if nobody is at work in the tracker."""
        rows = await self._link.fetch(self._queries.text("version"), (), "read the tracker's version", limit=LIMIT)
        found = max(int(rows[0]["version"]) if rows else 0, there.version)
        refuse_newer(self._name, found, rows[0]["made_by"] if rows else "")
        text = self._queries.text("movable", keys(there.schema))
        if not (await self._link.fetch(text, (), "ask about the lock", limit=LIMIT))[0]["free"]:
            raise self._held("a command is at work in it")
        return found

    async def _missing(self) -> list[str]:
        """Return the statements that add columns, defaults and constraints that the tables lack."""
        scratch = Queries(_SCRATCH)
        create = f"SAVEPOINT scratch; {scratch.text('create')}"
        await self._link.execute(create, "compare the tracker", limit=LIMIT)
        text = self._queries.text("missing", {"schema": self._queries.schema, "names": list(TABLES.values())})
        rows = await self._link.fetch(text, (), "compare the tracker", limit=LIMIT)
        await self._link.execute("ROLLBACK TO SAVEPOINT scratch", "compare the tracker", limit=LIMIT)
        return [row["text"] for row in rows]

    def _filled(self, was: int, *, existed: bool) -> str:
        values = {"version": VERSION, "made_by": __version__, "existed": existed, "was": was}
        seal = self._queries.text("seal", {**values, "tracker": self._queries.table("{tracker}")})
        return seal if existed else f"{self._queries.text('create')}; {seal}"

    def _doing(self) -> str:
        return f"create or change the tracker in schema {self._queries.schema}"

    def _held(self, why: str) -> LockHeld:
        return LockHeld(
            f"the tracker of {self._name} in schema {self._queries.schema} cannot be changed now: {why}",
            state="Nothing was changed.",
            hint="Wait for it (`--lock-timeout 30m`); `migrator status` shows who is at work.",
        )

    async def _roll_back(self) -> None:
        self._link.forget()
        if self._link.in_transaction:
            with suppress(DatabaseError):  # the connection is gone, and its transaction with it
                await self._link.execute("ROLLBACK", "roll back", limit=LIMIT)
