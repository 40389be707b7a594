"""Looking at the servers from outside, behind the back of the command."""

from typing import Any

from tests._servers import sql

RELATIONS = """
    SELECT c.relname, c.relkind::text, a.attname, a.atttypid::regtype::text, a.attnotnull
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE n.nspname = 'public' ORDER BY 1, 3
"""


def snapshot(url: str) -> list[tuple[Any, ...]]:
    """Return all there is in a PostgreSQL database, but for the row of the lock, whose fence grows with each holder."""
    shape = [tuple(row) for row in sql(url, RELATIONS)]
    names = sorted({row[0] for row in shape if row[1] == "r"} - {"script_run_lock"})
    query = " UNION ALL ".join(f"SELECT '{name}', each::text FROM \"{name}\" AS each" for name in names)
    return shape + sorted(tuple(row) for row in (sql(url, query) if names else ()))


def relations(url: str, kind: str = "r") -> set[str]:
    """Return the tables (or the indexes, with "i") of a PostgreSQL database, without migrator's own."""
    rows = sql(url, f"SELECT relname FROM pg_class WHERE relkind = '{kind}' AND relnamespace = 'public'::regnamespace")
    ours = ("script_", "migrator_")
    return {row["relname"] for row in rows if not row["relname"].startswith(ours)}


def runs(url: str, where: str = "true") -> list[dict[str, Any]]:
    """Return rows of the PostgreSQL tracker, oldest first."""
    return [dict(row) for row in sql(url, f"SELECT * FROM script_run_tracker WHERE {where} ORDER BY seq")]


def documents(url: str, collection: str) -> list[dict[str, Any]]:
    """Return the documents of a MongoDB collection."""
    import pymongo

    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(url) as client:
        return list(client.get_default_database()[collection].find())
