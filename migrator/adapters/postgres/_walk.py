"""The way along a table's key: pages by keyset, never by offset, so that each costs the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._queries import decoded, identifier
from migrator.core.batch import Extent, Page, Position
from migrator.core.errors import UsageError

_KEY = """
    SELECT attname AS name, pg_catalog.format_type(atttypid, atttypmod) AS type, attnotnull AS filled,
           pg_catalog.to_regclass($1)::text AS table,
           EXISTS (SELECT FROM pg_catalog.pg_index
                    WHERE indrelid = attrelid AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL
                      AND indkey::int2[] <@ (SELECT array_agg(own.attnum) FROM pg_catalog.pg_attribute AS own
                                              WHERE own.attrelid = pg_attribute.attrelid AND own.attname = ANY ($2)))
               AS single
      FROM pg_catalog.pg_attribute
     WHERE attrelid = pg_catalog.to_regclass($1) AND attname = ANY ($2) AND NOT attisdropped
     ORDER BY array_position($2, attname::text)
"""
_PRIMARY = """
    SELECT attname::text FROM pg_catalog.pg_index
      JOIN unnest(indkey) WITH ORDINALITY AS part (number, place) ON true
      JOIN pg_catalog.pg_attribute ON attrelid = indrelid AND attnum = part.number
     WHERE indrelid = pg_catalog.to_regclass($1) AND indisprimary ORDER BY part.place
"""
_SIZE = """
    SELECT sum(pg_catalog.pg_relation_size(oid))::bigint AS bytes
      FROM pg_catalog.pg_class
     WHERE relkind IN ('r', 'm') AND oid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1::text::regclass)
                                             UNION SELECT $1::text::regclass)
"""


SAMPLE = 50_000
"""Rows that are looked at to cut the keys into slices."""


class PostgresWalk:
    """Implements `core.batch.Walk`. A position is a tuple of the key's values as text."""

    def __init__(self, link: Link, source: str, key: tuple[str, ...], where: str) -> None:
        self._link = link
        self._key = key
        self._where = where
        self._table = ""
        self._types: tuple[str, ...] = ()
        self._rows = 0
        self.source = source

    async def extent(self) -> Extent:
        """Return how much there is, and the last key. Raises UsageError where the key is none.

        The rows are the planner's estimate: it knows how large the table is now, also where nobody has counted it yet.
        """
        await self._know_key()
        (size,) = await self._fetch(_SIZE, (self._table,), "look at the size of the table")
        plan = await self._fetch(f"EXPLAIN (FORMAT JSON) SELECT FROM {self._table}", (), "estimate the rows")
        rows = self._rows = int(decoded(plan[0][0])[0]["Plan"]["Plan Rows"])
        order = ", ".join(f"own.{name} DESC" for name in self._names())  # not the texts, which have the same names
        texts = ", ".join(f"own.{name}::text" for name in self._names())
        text = f"SELECT {texts} FROM {self._table} AS own ORDER BY {order} LIMIT 1"  # noqa: S608 - quoted identifiers
        last = await self._fetch(text, (), "find the last key")
        return Extent(rows, size["bytes"] / max(rows, 1), tuple(last[0])) if last else Extent(0, 0.0, None)

    async def page(self, after: Position | None, upto: Position, limit: int) -> Page | None:
        """Return the next rows."""
        columns = ", ".join(self._names())
        conditions = [f"({columns}) <= ({self._places(1)})"]
        if after is not None:
            conditions.append(f"({columns}) > ({self._places(1 + len(self._key))})")
        return await self._page(" AND ".join(conditions), (*upto, *(after or ())), limit)

    async def at(self, position: Position) -> Page | None:
        """Return the one row at a position."""
        return await self._page(f"({', '.join(self._names())}) = ({self._places(1)})", position, 1)

    async def _page(self, condition: str, args: Position, limit: int) -> Page | None:
        names = self._names()
        columns = ", ".join(names)
        ends = [
            *(f"first_value({name}) OVER whole" for name in names),
            *(f"last_value({name}) OVER whole" for name in names),
            *(f"last_value({name}::text) OVER whole" for name in names),
        ]
        text = f"""
            SELECT count(*) OVER whole, {", ".join(ends)}
              FROM (SELECT {columns} FROM {self._table} WHERE {condition}
                     ORDER BY {columns} LIMIT {limit}) AS page
            WINDOW whole AS (ORDER BY {columns} ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
             LIMIT 1
        """  # noqa: S608 - quoted identifiers and a number
        rows = await self._fetch(text, args, "find the next rows")
        if not rows:
            return None
        count, *rest = tuple(rows[0])
        width = len(names)
        first, last, reached = rest[:width], rest[width : 2 * width], tuple(rest[2 * width :])
        return Page(
            first=first[0] if width == 1 else tuple(first),
            last=last[0] if width == 1 else tuple(last),
            upto=reached,
            size=count,
            where=self._between(columns, width),
            args=(*first, *last),
        )

    async def split(self, upto: Position, parts: int) -> Sequence[Position]:
        """Return the ends of slices: quantiles of the key; of a large table from a sample, which costs no full scan."""
        names = self._names()
        columns = ", ".join(names)
        share = min(100.0, 100.0 * SAMPLE / max(self._rows, 1))
        text = f"""
            SELECT {", ".join(f"max.{name}::text" for name in names)}
              FROM (SELECT DISTINCT ON (tile) {columns}
                      FROM (SELECT {columns}, ntile({parts}) OVER (ORDER BY {columns}) AS tile
                              FROM {self._table} TABLESAMPLE SYSTEM ({share})
                             WHERE ({columns}) < ({self._places(1)})) AS tiles
                     ORDER BY tile, {", ".join(f"{name} DESC" for name in names)}) AS max
        """  # noqa: S608 - quoted identifiers and a number
        rows = await self._fetch(text, upto, "split the key range")
        return [*[tuple(row) for row in rows][: parts - 1], upto]

    async def rows(self, page: Page, columns: Sequence[str]) -> Sequence[Any]:
        """Return the rows of a page, locked against other writers until the batch ends."""
        wanted = "*" if not columns else ", ".join(dict.fromkeys([*self._names(), *map(identifier, columns)]))
        order = ", ".join(self._names())
        text = f"SELECT {wanted} FROM {self._table} WHERE {page.where} ORDER BY {order} FOR NO KEY UPDATE"  # noqa: S608
        return await self._link.fetch(text, page.args, "read the rows of the batch")

    async def write(self, changes: Sequence[tuple[Any, Mapping[str, Any]]]) -> None:
        """Write buffered changes, one pipelined command for each set of columns."""
        groups: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for row, values in changes:
            groups.setdefault(tuple(values), []).append((*values.values(), *(row[name] for name in self._key)))
        for columns, rows in groups.items():
            sets = ", ".join(f"{identifier(name)} = ${place}" for place, name in enumerate(columns, 1))
            matches = " AND ".join(f"{name} = ${place}" for place, name in enumerate(self._names(), len(columns) + 1))
            text = f"UPDATE {self._table} SET {sets} WHERE {matches}"  # noqa: S608 - quoted identifiers
            await self._link.execute_many(text, rows, "write the rows of the batch")

    async def _know_key(self) -> None:
        if not self._key:
            rows = await self._fetch(_PRIMARY, (self.source,), "find the primary key")
            self._key = tuple(row[0] for row in rows)
        found = await self._fetch(_KEY, (self.source, list(self._key)), "look at the key")
        if len(found) != len(self._key) or not found or not found[0]["single"]:
            await self._need_table()
            raise UsageError(
                f"batches over {self.source} need a unique key, and {', '.join(self._key) or 'it'} is none",
                state="Nothing was changed by it.",
                hint='Name the columns of a primary key or of a unique index: `key=("a", "b")`.',
            )
        empty = [row["name"] for row in found if not row["filled"]]
        if empty:
            raise UsageError(
                f"the key column {empty[0]} of {self.source} may be NULL, and such rows have no place in an order",
                state="Nothing was changed by it.",
                hint="Use the primary key, or make the column NOT NULL first.",
            )
        self._table = found[0]["table"]
        self._types = tuple(row["type"] for row in found)

    async def _need_table(self) -> None:
        (there,) = await self._fetch("SELECT pg_catalog.to_regclass($1) IS NOT NULL", (self.source,), "look for it")
        if not there[0]:
            raise UsageError(
                f"there is no table {self.source} to walk over",
                state="Nothing was changed by it.",
                hint="Correct the name, with its schema where that is not in the search path.",
            )

    def _names(self) -> list[str]:
        return [identifier(name) for name in self._key]

    def _places(self, start: int) -> str:
        return ", ".join(f"${number}::text::{kind}" for number, kind in enumerate(self._types, start))

    def _between(self, columns: str, width: int) -> str:
        low = ", ".join(f"${number}" for number in range(1, width + 1))
        high = ", ".join(f"${number}" for number in range(width + 1, 2 * width + 1))
        inside = f"({columns}) >= ({low}) AND ({columns}) <= ({high})"
        return f"{inside} AND ({self._where})" if self._where else inside

    async def _fetch(self, text: str, args: Sequence[Any], doing: str) -> list[Any]:
        return await self._link.fetch(text, args, doing, limit=LIMIT)
