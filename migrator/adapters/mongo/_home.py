"""Where the tracker of a database is, by which names its collections go, and what is missing of it."""

from typing import Any

from pymongo.asynchronous.database import AsyncDatabase

from migrator.adapters.mongo._rows import COLLECTIONS, FIRST, LOCK, TRACKER, VERSION
from migrator.adapters.mongo._work import Documents, ours
from migrator.core.errors import TrackerAmbiguous, TrackerNewer
from migrator.core.release import __version__

Database = AsyncDatabase[dict[str, Any]]

SEAL = {"_id": "tracker"}
"""The document of the lock that says which version the tracker has; it is written last of all."""

FENCE = {"_id": "fence"}


class Home:
    """A database of the server with the tracker of `db` in it, or without one yet.

    `version` is 0 where there is no tracker; `sealed` says that it was made to its end and not emptied since.
    """

    def __init__(
        self, db: Database, place: Database, version: int = 0, *, made_by: str = "", sealed: bool = False
    ) -> None:
        self.db = db
        self.place = place
        self.version = version
        self.made_by = made_by
        self.sealed = sealed

    @property
    def is_first(self) -> bool:
        """Say whether the collections go by the names of version 1."""
        return self.version == 1

    def of(self, name: str) -> Documents:
        """Return a collection of the tracker, by the name that it has in this version."""
        return ours(self.place, FIRST.get(name, name) if self.is_first else name)

    def refuse_newer(self, name: str) -> None:
        """Raise TrackerNewer where this migrator does not know the version."""
        if self.version > VERSION:
            raise TrackerNewer(
                f"the tracker of {name} has version {self.version}, written by migrator "
                f"{self.made_by or 'of a later release'}; this is migrator {__version__}, "
                f"which knows versions up to {VERSION}",
                state="Nothing was changed.",
                hint=f"Install migrator {self.made_by} or newer: pip install 'polymigrator>={self.made_by}'"
                if self.made_by not in ("", __version__)
                else "Install a newer migrator: pip install --upgrade polymigrator",
            )


async def find(db: Database, name: str, wanted: str) -> Home:
    """Ask where the tracker of a database is. `wanted` is its `tracker_database`, "" for any.

    One round trip where there is one in the place that is expected. Raises TrackerAmbiguous.
    """
    place = db.client.get_database(wanted) if wanted else db
    seal = await ours(place, LOCK).find_one(SEAL)
    if seal and "at" in seal:
        place = db.client.get_database(seal["at"])
        seal = await ours(place, LOCK).find_one(SEAL)
    if seal:
        _refuse_other(seal, db, place, name)
        return Home(db, place, int(seal["version"]), made_by=seal.get("made_by", ""), sealed=True)
    found = await _unsealed(db, place)
    if place.name == db.name or found.version:
        return found
    elsewhere = await find(db, name, "")
    if elsewhere.version and elsewhere.place.name != place.name:
        raise TrackerAmbiguous(
            f"{name} has no tracker in the database {place.name}, which `tracker_database` names, "
            f"but one in {elsewhere.place.name}",
            state="Nothing was changed.",
            hint=f'Set `tracker_database = "{elsewhere.place.name}"` in [databases.{name}] of migrator.toml.',
        )
    return found


async def _unsealed(db: Database, place: Database) -> Home:
    """Return what there is where no document says which version it is."""
    names = await place.list_collection_names(
        filter={"name": {"$in": [*COLLECTIONS, *FIRST.values()]}}, authorizedCollections=True
    )
    if FIRST[LOCK] in names:
        seal = await ours(place, FIRST[LOCK]).find_one(SEAL)
        if seal or LOCK not in names:
            return Home(db, place, 1, sealed=seal is not None)
    return Home(db, place, VERSION if TRACKER in names else 0)


def _refuse_other(seal: dict[str, Any], db: Database, place: Database, name: str) -> None:
    if seal.get("database", db.name) != db.name:
        raise TrackerAmbiguous(
            f"the tracker in the database {place.name} is that of {seal['database']}, and {name} is {db.name}",
            state="Nothing was changed.",
            hint=f"Give each database a tracker of its own: another `tracker_database` in [databases.{name}].",
        )
