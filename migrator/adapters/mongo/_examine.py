"""What `doctor` says of a MongoDB server. Only reads."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import pymongo
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure
from pymongo.topology_description import TOPOLOGY_TYPE

from migrator.adapters.mongo._client import INDIRECT, followed
from migrator.adapters.mongo._home import Home, find
from migrator.adapters.mongo._rows import LOCK, TRACKER, VERSION
from migrator.adapters.mongo._tracker import RULES
from migrator.adapters.mongo._work import PAUSE
from migrator.core.errors import MigratorError, TrackerAmbiguous, TrackerNewer
from migrator.core.protocols import Finding, Findings

LIMIT = 10.0
SKEW = 2.0
"""Seconds that the clocks of server and client may differ before it is said."""

OLDEST = (5, 0)
SETTLING = 1.0
"""Seconds in which the driver gets to know the other members of a set."""

_GRANT = "Grant the user readWrite on this database."
WRITES = frozenset({"find", "insert", "update"})
CREATES = frozenset({"createCollection", "createIndex"})
"""What a user must be allowed on each of the tracker's collections: always, and to create it. An upgrade asks for no
more; collMod is only for revisions that use it.
"""


def unreachable(error: MigratorError) -> Findings:
    """Return the one finding of a server that cannot be looked at."""
    return [Finding("fail", "connection", error.message, error.hint)]


async def examined(db: AsyncDatabase[dict[str, Any]], name: str, wanted: str) -> Findings:
    """Look at version, topology, privileges, tracker and clock."""
    with pymongo.timeout(LIMIT):
        before = datetime.now(UTC)
        hello = await db.client.admin.command("hello")
        after = datetime.now(UTC)
        built = await db.client.admin.command("buildInfo")
        allowed = await db.command({"connectionStatus": 1, "showPrivileges": True})
        home = await _found(db, name, wanted)
        new = isinstance(home, Home) and not home.version
        return [
            _version(built),
            *(await _topology(db, hello)),
            _rights(allowed["authInfo"], home.place.name if isinstance(home, Home) else db.name, new=new),
            home if isinstance(home, Finding) else await _tracker(home),
            _clock(hello["localTime"].replace(tzinfo=UTC), before, after),
        ]


async def _reachable(db: AsyncDatabase[dict[str, Any]], needed: int) -> int:
    """Return how many members with data answer, as soon as there are enough."""
    deadline = monotonic() + SETTLING
    while True:
        servers = db.client.topology_description.server_descriptions().values()
        found = sum(1 for each in servers if each.server_type_name in {"RSPrimary", "RSSecondary"})
        if found >= needed or monotonic() > deadline:
            return found
        await asyncio.sleep(PAUSE)


def _version(built: Mapping[str, Any]) -> Finding:
    version, number = str(built["version"]), tuple(built["versionArray"][:2])
    if number < OLDEST:
        return Finding("warn", "version", f"MongoDB {version} is older than 5.0", "Upgrade the server.")
    return Finding("ok", "version", f"MongoDB {version}")


async def _topology(db: AsyncDatabase[dict[str, Any]], hello: Mapping[str, Any]) -> Findings:
    if hello.get("msg") == "isdbgrid":
        return [Finding("ok", "topology", "a sharded cluster, through mongos: transactions are possible")]
    if "setName" not in hello:
        text = "a standalone server: no transactions, and the tracker's writes follow one another without one"
        return [Finding("warn", "topology", text, "Start mongod with --replSet; one member is enough.")]
    members = len(hello.get("hosts", ())) + len(hello.get("passives", ()))
    arbiters = len(hello.get("arbiters", ()))
    text = f"replica set {hello['setName']} of {members + arbiters}"
    if followed(db.client):
        return [Finding("fail", "topology", f"{text}, through a secondary, which takes no writes", INDIRECT)]
    if db.client.topology_description.topology_type == TOPOLOGY_TYPE.Single and members > 1:
        return [Finding("ok", "topology", f"{text}, of which the address names one alone (directConnection=true)")]
    needed = min((members + arbiters) // 2 + 1, members)
    reachable = await _reachable(db, needed)
    text = f"{text}, {reachable} with data within reach"
    return [Finding("ok", "topology", text), _majority(needed, reachable)]


def _majority(needed: int, reachable: int) -> Finding:
    if reachable >= needed:
        return Finding("ok", "majority", "a write can reach a majority")
    text = f"{reachable} members with data are within reach, a majority write needs {needed}"
    return Finding("fail", "majority", text, "Start the missing members, or mend the network to them.")


def _rights(told: Mapping[str, Any], database: str, *, new: bool) -> Finding:
    if not told["authenticatedUsers"]:
        return Finding("ok", "privileges", "the server asks for no user")
    needed = WRITES | CREATES if new else WRITES
    missing = sorted({action for each in (TRACKER, LOCK) for action in needed - _granted(told, database, each)})
    if missing:
        text = f"the user may not {', '.join(missing)} on {database}"
        return Finding("fail", "privileges", text, _GRANT)
    return Finding("ok", "privileges", "the user may do what the tracker needs")


def _granted(told: Mapping[str, Any], database: str, collection: str) -> frozenset[str]:
    """Return what the user may do on a collection, whatever role grants it."""
    granted: set[str] = set()
    for each in told.get("authenticatedUserPrivileges", ()):
        resource = each["resource"]
        here = resource.get("db") in {"", database} and resource.get("collection") in {"", collection}
        if resource.get("anyResource") or here:
            granted.update(each["actions"])
    return WRITES | CREATES if "anyAction" in granted else frozenset(granted)


async def _found(db: AsyncDatabase[dict[str, Any]], name: str, wanted: str) -> Home | Finding:
    """Return where the tracker is, or why that cannot be said."""
    try:
        home = await find(db, name, wanted)
        home.refuse_newer(name)
    except (TrackerAmbiguous, TrackerNewer) as error:
        return Finding("fail", "tracker", error.message, error.hint, 1.0)
    return home


async def _tracker(home: Home) -> Finding:
    where = f"in the database {home.place.name}"
    if not home.version:
        return Finding("ok", "tracker", f"there is none yet; the first upgrade creates it {where}", value=0.0)
    if home.is_first:
        text = f"{where}, version 1; the next upgrade moves it to version {VERSION}"
        return Finding("ok", "tracker", text, value=1.0)
    try:
        indexes = await home.of(TRACKER).index_information()
    except OperationFailure:
        text = f"{where}; its indexes cannot be read"
        return Finding("warn", "tracker", text, "Grant the user readWrite on this database.", 1.0)
    missing = sorted(RULES - set(indexes))
    if missing or not home.sealed:
        text = f"{where}; {' and '.join(missing) or 'its version'} is missing, so the database does not keep the rules"
        return Finding("warn", "tracker", text, "The next upgrade adds it.", 1.0)
    return Finding("ok", "tracker", f"{where}, version {home.version}, with its indexes", value=1.0)


def _clock(server: datetime, before: datetime, after: datetime) -> Finding:
    """Compare with the middle of the question; half its way there and back is the error."""
    apart = abs((server - (before + (after - before) / 2)).total_seconds())
    if apart > SKEW + (after - before).total_seconds() / 2:
        text = f"the clocks of server and client are {apart:.1f} seconds apart"
        return Finding("warn", "clock", text, "Only the server's is used; logs of the two will not match.", apart)
    return Finding("ok", "clock", "server and client agree", value=apart)
