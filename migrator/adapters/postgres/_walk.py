"""The way along a table's key: pages by keyset, never by offset, so that each costs the same."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any
from uuid import UUID

from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._queries import decoded, identifier
from migrator.core.batch import Extent, Page, Position
from migrator.core.errors import UsageError

_KEY = """
    SELECT attname AS name, pg_catalog.format_type(atttypid, atttypmod) AS type, attnotnull AS filled,
           pg_catalog.to_regclass($1)::text AS table, pg_catalog.row_security_active(attrelid) AS veiled,
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

SURE = (int, str, bool, bytes, float, UUID, date)
"""The types of values that the driver sends as what it received; of others that is checked, page by page."""

_PLAIN = (Decimal, time, IPv4Address, IPv6Address, IPv4Interface, IPv6Interface, IPv4Network, IPv6Network)
_EXACT = "migrator_key_"
"""The beginning of the name of a column with the exact text of a key's value, in rows whose key may lose something."""

_KEEPS = re.compile(
    r"smallint|integer|bigint|oid|boolean|text|character.*|name|bytea|uuid|real|double precision|numeric.*"
)
_ENDLESS = ("infinity", "-infinity")


class Text(str):
    """A value of a key as text, because the driver would send another one for it."""

    __slots__ = ()


def handed_out(value: Any, text: str) -> Any:
    """Return what a script gets for a value of a key: the driver's own, or text where that may not be the same again.

    asyncpg has one value for the last day that Python knows and for infinity, and one for the first day and -infinity;
    an interval loses its months.
    """
    if isinstance(value, date):
        ends = (type(value).min, type(value).max)
        special = value.replace(tzinfo=None) in ends if isinstance(value, datetime) else value in ends
        return Text(text) if special and text not in _ENDLESS else value
    return value if isinstance(value, (*SURE, *_PLAIN)) else Text(text)


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
            f"{end}_value({name}{cast}) OVER whole AS {name}"
            for cast in ("", "::text")
            for end in ("first", "last")
            for name in names
        ]
        text = f"""
            SELECT count(*) OVER whole, {", ".join(ends)}
              FROM (SELECT {columns} FROM {self._table} WHERE {condition}
                     ORDER BY {columns} LIMIT {limit}) AS page
            WINDOW whole AS (ORDER BY {columns} ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
             LIMIT 1
        """  # noqa: S608 - quoted identifiers and a number
        rows = await self._fetch(text, args, f"find the next rows of {self.source}")
        if not rows:
            return None
        count, *rest = tuple(rows[0])
        width = len(names)
        values, texts = rest[: 2 * width], rest[2 * width :]
        ends = [handed_out(value, text) for value, text in zip(values, texts, strict=True)]
        inside = self._inside(ends)
        if any(isinstance(end, Text) or not isinstance(end, SURE) for end in ends):
            await self._need_all(condition, args, inside, ends, texts)
        return Page(
            first=ends[0] if width == 1 else tuple(ends[:width]),
            last=ends[1] if width == 1 else tuple(ends[width:]),
            upto=tuple(texts[width:]),
            size=count,
            where=f"{inside} AND ({self._where})" if self._where else inside,
            args=tuple(ends),
        )

    async def _need_all(self, condition: str, args: Position, inside: str, ends: list[Any], texts: list[str]) -> None:
        """Compare, in one snapshot, the rows that the walk sees with those that the page names as the driver sends it.

        Raises UsageError where they are not the same.
        """
        (names, width), shift = (self._names(), len(self._key)), len(args) + len(texts)
        seen = f"{condition} AND ({', '.join(names)}) <= ({self._places(1 + len(args) + width)})"
        seen += f" AND ({', '.join(names)}) >= ({self._places(1 + len(args))})"
        named = re.sub(r"\$(\d+)", lambda place: f"${int(place[1]) + shift}", inside)
        text = f"""
            SELECT (SELECT count(*) FROM {self._table} WHERE {seen}) AS seen,
                   (SELECT count(*) FROM {self._table} WHERE {named}) AS named
        """  # noqa: S608 - quoted identifiers
        (found,) = await self._fetch(text, (*args, *texts, *ends), "compare the rows of a batch")
        if found["seen"] != found["named"]:
            raise UsageError(
                f"the batch of {self.source} from {', '.join(texts[:width])} to {', '.join(texts[width:])} has "
                f"{found['seen']} rows, and {found['named']} once its key ({self._kinds()}) has passed the driver",
                state="Nothing of this batch was changed.",
                hint='Walk along another unique key: `key=("a", "b")`.',
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
        wanted = ", ".join(
            [wanted, *(f"{name}::text AS {_EXACT}{n}" for n, name in enumerate(self._names()) if self._odd)]
        )
        text = f"SELECT {wanted} FROM {self._table} WHERE {page.where} ORDER BY {order} FOR NO KEY UPDATE"  # noqa: S608
        return await self._link.fetch(text, page.args, "read the rows of the batch")

    async def write(self, changes: Sequence[tuple[Any, Mapping[str, Any]]]) -> None:
        """Write buffered changes, one pipelined command for each set of columns."""
        groups: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for row, values in changes:
            names = [f"{_EXACT}{number}" for number in range(len(self._key))] if self._odd else self._key
            key = tuple(row[name] for name in names)
            groups.setdefault(tuple(values), []).append((*values.values(), *key))
        for columns, rows in groups.items():
            sets = ", ".join(f"{identifier(name)} = ${place}" for place, name in enumerate(columns, 1))
            places = enumerate(self._types, len(columns) + 1)
            keys = [f"${place}::text::{kind}" if self._odd else f"${place}" for place, kind in places]
            matches = " AND ".join(f"{name} = {place}" for name, place in zip(self._names(), keys, strict=True))
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
        if found[0]["veiled"]:
            raise UsageError(
                f"row level security is active on {self.source} for this user, so a walk may not see every row",
                state="Nothing was changed by it.",
                hint="Run it as the owner of the table where FORCE ROW LEVEL SECURITY is off, "
                "or let the user see all rows: ALTER ROLE ... BYPASSRLS",
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

    def _kinds(self) -> str:
        return ", ".join(f"{name} {kind}" for name, kind in zip(self._key, self._types, strict=True))

    @property
    def _odd(self) -> bool:
        """Say whether the driver may send another value than it received for a column of the key."""
        return not all(_KEEPS.fullmatch(kind) for kind in self._types)

    def _names(self) -> list[str]:
        return [identifier(name) for name in self._key]

    def _places(self, start: int) -> str:
        return ", ".join(f"${number}::text::{kind}" for number, kind in enumerate(self._types, start))

    def _inside(self, ends: Sequence[Any]) -> str:
        """Return the condition of a page, for the ends of its key as they are handed out."""
        kinds, columns, width = [*self._types, *self._types], ", ".join(self._names()), len(self._key)
        places = [
            f"${number}::text::{kind}" if isinstance(end, Text) else f"${number}"
            for number, (end, kind) in enumerate(zip(ends, kinds, strict=True), 1)
        ]
        return f"({columns}) >= ({', '.join(places[:width])}) AND ({columns}) <= ({', '.join(places[width:])})"

    async def _fetch(self, text: str, args: Sequence[Any], doing: str) -> list[Any]:
        return await self._link.fetch(text, args, doing, limit=LIMIT)
