"""PostgreSQL 14 and newer, through asyncpg; SQLAlchemy joins the same connection when a revision touches it."""

from typing import TYPE_CHECKING, Any

from migrator.core.errors import DependencyMissing
from migrator.core.protocols import Adapter, Capabilities
from migrator.core.url import Url

if TYPE_CHECKING:
    from migrator.adapters.postgres._context import Context

__all__ = ["Context"]

KIND = "postgres"
SCHEMES = ("postgresql", "postgres")
TRACKER_KEY = "tracker_schema"
"""What `[databases.NAME]` calls the place of a new tracker."""

SIGNALS = ("query", "lag", "waiters", "long_transactions")
CAPABILITIES = Capabilities(transactions=True, transaction_default=True, sql=True, signals=SIGNALS)


def adapter(
    name: str, url: Url, *, pool: int = 2, connect_timeout: float = 5.0, release: str = "", tracker: str = ""
) -> Adapter:
    """Return the adapter of one database; nothing is opened yet.

    `pool` is the greatest number of connections, `connect_timeout` is in seconds, `release` is the version of the
    user's program for the tracker, `tracker` is the schema for a new tracker, "" for the current one. Raises
    DependencyMissing without asyncpg.
    """
    try:
        from migrator.adapters.postgres._adapter import PostgresAdapter
    except ModuleNotFoundError as error:
        raise DependencyMissing(
            f"the database {name!r} is PostgreSQL, and {error.name} is not installed",
            hint="Install the extra: pip install 'polymigrator[postgres]' (in a checkout: '.[postgres]')",
        ) from error
    return PostgresAdapter(name, url, pool=pool, connect_timeout=connect_timeout, release=release, tracker=tracker)


def __getattr__(name: str) -> Any:
    """Import `Context` when a revision asks for it."""
    if name != "Context":
        raise AttributeError(name)
    from migrator.adapters.postgres._context import Context

    return Context
