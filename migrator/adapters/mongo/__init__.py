"""MongoDB: what is known of it without its driver. pymongo is imported by the first `adapter()`.

A transactional step needs a replica set or a sharded cluster. What MongoDB cannot give, whatever the tool: a fence for
`createIndex`, `collMod` and plain `updateMany` of a holder that was paused, and an end of a running command when its
client goes away.
"""

from typing import TYPE_CHECKING, Any

from migrator.core.errors import DependencyMissing
from migrator.core.protocols import Adapter, Capabilities
from migrator.core.url import Url

if TYPE_CHECKING:
    from migrator.adapters.mongo._context import Context

KIND = "mongo"
SCHEMES = ("mongodb", "mongodb+srv")
EXTRA = "mongo"
DEFAULT_PORT = 27017
TRACKER_KEY = "tracker_database"
"""What `[databases.NAME]` calls the place of a new tracker."""

SIGNALS = ("query", "lag", "long_transactions")
CAPABILITIES = Capabilities(transactions=True, transaction_default=False, sql=False, signals=SIGNALS)

__all__ = ["CAPABILITIES", "DEFAULT_PORT", "EXTRA", "KIND", "SCHEMES", "Context", "adapter"]


def adapter(
    name: str, url: Url, *, pool: int = 2, connect_timeout: float = 5.0, release: str = "", tracker: str = ""
) -> Adapter:
    """Return the adapter of one configured database; connects nothing.

    `pool` is how many connections the work may use at once, `connect_timeout` how many seconds opening may take,
    `tracker` the database of the server in which a new tracker is made, "" for that of the address.
    Raises DependencyMissing without pymongo, ConfigError where the address names no database.
    """
    try:
        from migrator.adapters.mongo._adapter import MongoAdapter
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"pymongo", "bson"}:
            raise
        raise _missing() from error
    return MongoAdapter(name, url, pool=pool, connect_timeout=connect_timeout, release=release, tracker=tracker)


def __getattr__(name: str) -> Any:
    """Load `Context` only where a revision asks for it."""
    if name != "Context":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from migrator.adapters.mongo._context import Context

    return Context


def _missing() -> DependencyMissing:
    return DependencyMissing(
        "MongoDB needs the driver pymongo, which is not installed",
        state="Nothing was changed.",
        hint="install the extra: pip install 'polymigrator[mongo]' (from a checkout: pip install -e '.[mongo]')",
    )
