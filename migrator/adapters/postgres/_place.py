"""Where the tracker of a database is: found in the catalog, whatever the search path."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._queries import FIRST, TABLES, VERSION, Queries, identifier, literal, texts
from migrator.core.errors import TrackerAmbiguous, TrackerNewer
from migrator.core.release import __version__

CLASS = 0x6D696772
"""The first key of the advisory lock, "migr"; the second is made of the tracker's schema."""

TRACKER, LOCK = TABLES["{tracker}"], TABLES["{lock}"]

_NEEDED = frozenset(
    [*TABLES.values(), f"{TRACKER}_pkey", f"{LOCK}_pkey", f"{TRACKER}_one_pending", f"{TRACKER}_one_success"]
)
"""Tables and indexes without which the newest version does not keep its rules."""

_COLUMNS, _DEFAULTS = 45, 27
"""How many columns, and how many with a default, tracker and lock have together in the newest version."""

_NAMES = ", ".join(literal(each) for each in sorted({*_NEEDED, *FIRST.values()}))


class Place(NamedTuple):
    """A schema with tables of ours in it."""

    schema: str
    names: frozenset[str]
    columns: int
    defaults: int
    replicated: bool = False
    """Whether the database has publications or subscriptions, of whatever."""

    @property
    def version(self) -> int:
        """Return the version by whose names the tables go; the lock's row may say a newer one."""
        return 1 if LOCK not in self.names and self.names & {*FIRST.values()} else 2

    @property
    def lacks(self) -> str:
        """Return what is missing of the newest version, "" where nothing is."""
        missing = sorted(_NEEDED - self.names)
        if missing:
            return ", ".join(missing)
        return "a column or a default" if self.columns < _COLUMNS or self.defaults < _DEFAULTS else ""

    @property
    def has_lock(self) -> bool:
        """Say whether the table of the lock is there, under either name."""
        return bool(self.names & {LOCK, FIRST["{lock}"]})


def places(rows: Iterable[Any]) -> tuple[Place, ...]:
    """Return what the question `place` found: the schemas that may hold a tracker.

    The lock is what makes a tracker: a copy that somebody made of the runs alone is none, unless there is nothing else.
    """
    found = [
        Place(row["schema"], frozenset(row["names"]), row["columns"] or 0, row["defaults"] or 0, row["replicated"])
        for row in rows
        if row["schema"] is not None
    ]
    locked = [place for place in found if place.has_lock]
    return tuple(sorted(locked or [place for place in found if TRACKER in place.names]))


def chosen(found: Sequence[Place], name: str, wanted: str, *, reserved: bool) -> Place | None:
    """Return the tracker of a database, None where there is none yet. `wanted` is its `tracker_schema`, "" for any.

    `reserved` says that the wanted schema may have one beside others. Raises TrackerAmbiguous where more than one may
    be meant, or the only one is not where it should be.
    """
    meant = [place for place in found if wanted in ("", place.schema)]
    if len(meant) == 1:
        return meant[0]
    if not found or (wanted and reserved):
        return None
    listed = ", ".join(place.schema for place in found)
    if wanted:
        raise TrackerAmbiguous(
            f"{name} has no tracker in schema {wanted}, which `tracker_schema` names, but one in schema {listed}",
            state="Nothing was changed.",
            hint=f'Set `tracker_schema = "{found[0].schema}"` in [databases.{name}] of migrator.toml; or move it: '
            "ALTER TABLE ... SET SCHEMA for each of its tables; or, for a second history beside that one, reserve the "
            f"schema: CREATE SCHEMA IF NOT EXISTS {identifier(wanted)}; "
            f"COMMENT ON SCHEMA {identifier(wanted)} IS 'migrator'.",
        )
    raise TrackerAmbiguous(
        f"{name} has more than one tracker: in schema {listed}",
        state="Nothing was changed.",
        hint=f'Say which one is meant: `tracker_schema = "{found[0].schema}"` in [databases.{name}] of migrator.toml.',
    )


async def find(link: Link, name: str, wanted: str) -> tuple[Any, Place | None]:
    """Ask where the tracker is: one round trip. Returns the row of the answer, too. Raises TrackerAmbiguous."""
    text = texts()["place"].replace("{names}", _NAMES).replace(":wanted", literal(wanted))
    rows = await link.fetch(text, (), "look for the tracker", limit=LIMIT)
    return rows[0], chosen(places(rows), name, wanted, reserved=rows[0]["reserved"])


def keys(schema: str) -> Mapping[str, int]:
    """Return the two keys of the advisory lock of a tracker."""
    return {"class": CLASS, "key": crc32(schema.encode()) & 0x7FFFFFFF}


def refuse_newer(name: str, version: int, made_by: str) -> None:
    """Raise TrackerNewer where this migrator does not know a version; `made_by` is the release that wrote it."""
    if version > VERSION:
        raise TrackerNewer(
            f"the tracker of {name} has version {version}, written by migrator {made_by or 'of a later release'}; "
            f"this is migrator {__version__}, which knows versions up to {VERSION}",
            state="Nothing was changed.",
            hint=f"Install migrator {made_by} or newer: pip install 'polymigrator>={made_by}'"
            if made_by not in ("", __version__)
            else "Install a newer migrator: pip install --upgrade polymigrator",
        )


class Copies(NamedTuple):
    """The publications that copy a tracker to other databases, and the subscriptions that write it from one."""

    publications: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it for a person, "" where there are none."""
        out, back = ", ".join(self.publications), ", ".join(self.subscriptions)
        parts = [
            f"written by subscription {back}: it says what is applied at the publisher, not here" * bool(back),
            f"copied by publication {out}: at its subscribers it says what is applied here, not there" * bool(out),
        ]
        return "; ".join(part for part in parts if part)


async def copies(link: Link, queries: Queries, place: Place) -> Copies:
    """Ask what copies a tracker; nothing is asked where the database has neither publications nor subscriptions."""
    if not place.replicated or TRACKER not in place.names:
        return Copies()
    text = queries.text("copies", {"schema": place.schema, "table": queries.table("{tracker}")})
    rows = await link.fetch(text, (), "ask what is replicated", limit=LIMIT)
    ways = {way: tuple(row["name"] for row in rows if row["way"] == way) for way in ("publication", "subscription")}
    return Copies(ways["publication"], ways["subscription"])
