"""The way along a collection in the order of a unique index: pages by keyset, never by offset, and no long cursor.

A filter compares values of one type only (`{"$gt": 5}` passes over strings), while an index has an order of all values.
So places are looked up in the index itself, with `hint`, `min` and `max`; and a page of a key of one field ends where
the type of its values changes, so that a range from its first to its last value, as a script writes it, is exact too.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, TypeVar
from uuid import UUID

from bson import Code, Decimal128, MaxKey, MinKey, ObjectId, Timestamp
from pymongo import ReadPreference, UpdateOne
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.asynchronous.database import AsyncDatabase

from migrator.adapters.mongo._errors import translated
from migrator.adapters.mongo._work import LOCAL, patiently
from migrator.core.batch import Extent, Page, Position
from migrator.core.errors import UsageError

T = TypeVar("T")
SAMPLE = 64
"""Keys that are sampled for each slice of a split."""

LOOKS = 3
"""How often documents are counted, where others write meanwhile, before they count as left out."""

_BRACKETS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((Code,), ""),  # which is a str, too
    ((bool,), "bool"),
    ((int, float, Decimal128), "number"),
    ((str,), "string"),
    ((ObjectId,), "id"),
    ((datetime,), "date"),
    ((bytes, UUID), "binary"),
    ((Timestamp,), "timestamp"),
    ((Mapping,), "object"),
    ((type(None),), "null"),
)
_SURE = ("bool", "number", "string", "id", "date", "binary", "timestamp")
"""Types of which a filter finds what the index has; of others that is checked, page by page."""

_PARTIAL = ("sparse", "partialFilterExpression", "hidden")
_SIZE: list[dict[str, Any]] = [
    {"$collStats": {"storageStats": {}}},
    {"$group": {"_id": None, "rows": {"$sum": "$storageStats.count"}, "bytes": {"$sum": "$storageStats.size"}}},
]


class MongoWalk:
    """Implements `core.batch.Walk`. A position is a tuple of the key's values, in their own types."""

    def __init__(
        self, db: AsyncDatabase[dict[str, Any]], source: str, key: tuple[str, ...], where: Mapping[str, Any] | None
    ) -> None:
        if where is not None and not isinstance(where, Mapping):
            raise UsageError(
                f"where is {where!r}, and batches over a collection take a filter",
                hint='Write it as for find(): `where={"total": None}`.',
            )
        self._db = db
        self._rows = db.get_collection(source, read_preference=ReadPreference.PRIMARY, read_concern=LOCAL)
        self._key = key or ("_id",)
        self._where = where
        self._values = [f"${name}" for name in self._key]
        self._order = [(name, 1) for name in self._key]
        self.source = source

    async def extent(self) -> Extent:
        """Return how much there is, and the last key. Raises UsageError where the key is none."""
        if not await self._ask("look at the key", self._know_key):
            return Extent(rows=0, row_bytes=0.0, high=None)
        backwards = [(name, -1) for name in self._key]
        last = await self._ask("find the last key", lambda: self._first(self._keys().sort(backwards)))
        first = await self._ask("find the first key", lambda: self._first(self._keys()))
        self._need_ranges(first, last)
        rows, size = await self._ask("read the collection's statistics", self._size)
        high = None if last is None else tuple(last["key"])
        return Extent(rows=rows, row_bytes=size / rows if rows else 0.0, high=high)

    async def page(self, after: Position | None, upto: Position, limit: int) -> Page | None:
        """Return the next rows."""
        return await self._ask("find the next rows", lambda: self._page(after, upto, limit))

    async def at(self, position: Position) -> Page | None:
        """Return the one row at a position."""
        return await self._ask("find a row", lambda: self._alone(position))

    async def split(self, upto: Position, parts: int) -> Sequence[Position]:
        """Return the ends of slices: quantiles of a sample, because the index would have to be read as a whole."""
        inside = {"$lt": [self._values, {"$literal": list(upto)}]}
        stages: list[dict[str, Any]] = [
            {"$sample": {"size": SAMPLE * parts}},
            {"$match": {"$expr": inside}},
            {"$sort": dict(self._order)},
            {"$project": {"_id": 0, "key": self._values}},
        ]

        async def sampled() -> list[Position]:
            return [tuple(row["key"]) async for row in await self._rows.aggregate(stages)]

        keys = await self._ask("split the key range", sampled)
        ends = [keys[len(keys) * part // parts] for part in range(1, parts) if keys]
        return [end for end, following in pairwise([*ends, upto]) if end != following] + [upto]

    async def rows(self, page: Page, columns: Sequence[str]) -> Sequence[Any]:
        """Return the rows of a page. Whoever else writes one of them meanwhile lets the batch begin again."""
        plain = [name for name in self._key if "." not in name]
        wanted = dict.fromkeys([*plain, *columns], 1) if columns else None
        return [row async for row in self._rows.find(page.where, wanted).sort(self._order)]

    async def write(self, changes: Sequence[tuple[Any, Mapping[str, Any]]]) -> None:
        """Write buffered changes as one command."""
        updates = [UpdateOne({"_id": row["_id"]}, {"$set": dict(values)}) for row, values in changes]
        await self._rows.bulk_write(updates, ordered=False)

    async def _page(self, after: Position | None, upto: Position, limit: int) -> Page | None:
        low = await self._next(after, upto)
        if low is None or low["place"] > 0:
            return None
        first = tuple(low["key"])
        last, size = (first, 1) if low["place"] == 0 or limit == 1 else await self._reach(first, upto, limit)
        if len(self._key) == 1:
            last, size = await self._of_one_type(first, last, size)
        page = self._made(first, last, size)
        if not all(_bracket(each) in _SURE for each in (*first, *last)):
            await self._need_all(first, last, size)
        return page

    async def _alone(self, position: Position) -> Page | None:
        shown = {"same": {"$eq": [self._values, {"$literal": list(position)}]}}
        found = await self._first(self._keys(**shown).min(self._at(position)))
        return self._made(position, position, 1) if found is not None and found["same"] else None

    def _made(self, first: Position, last: Position, size: int) -> Page:
        where = self._inside(first, last)
        ends = (first, last) if len(self._key) > 1 else (first[0], last[0])
        return Page(ends[0], ends[1], last, size, {"$and": [where, self._where]} if self._where else where)

    def _inside(self, first: Position, last: Position) -> dict[str, Any]:
        """Return the filter of a page."""
        if len(self._key) > 1:
            return self._spanned(first, last)
        return {self._key[0]: _range(first, last) if _bracket(first[0]) else {"$eq": first[0]}}

    async def _next(self, after: Position | None, upto: Position) -> Mapping[str, Any] | None:
        """Return the first key behind `after`, and where it stands beside `upto`."""
        shown = {"place": {"$cmp": [self._values, {"$literal": list(upto)}]}}
        if after is None:
            return await self._first(self._keys(**shown))
        behind = {"$expr": {"$gt": [self._values, {"$literal": list(after)}]}}  # `min` includes what it names
        return await self._first(self._keys(behind, **shown).min(self._at(after)))

    async def _reach(self, first: Position, upto: Position, limit: int) -> tuple[Position, int]:
        """Return the last key of a page and how many it has; only the last page of a walk has to be read for that."""
        end = self._keys().min(self._at(first)).max(self._at(upto)).skip(limit - 1)
        found = await self._first(end)
        if found is not None:
            return tuple(found["key"]), limit
        shown = {"place": {"$cmp": [self._values, {"$literal": list(upto)}]}}
        last, size = first, 0
        async for row in self._keys(**shown).min(self._at(first)).limit(limit):
            if row["place"] > 0:
                break
            last, size = tuple(row["key"]), size + 1
        return last, max(size, 1)

    async def _of_one_type(self, first: Position, last: Position, size: int) -> tuple[Position, int]:
        """Return the end and the size of a page, cut where the type of its key changes."""
        kind = _bracket(first[0])
        if not kind:
            return first, 1
        if kind == _bracket(last[0]):
            return last, size
        name, backwards = self._key[0], [(self._key[0], -1)]
        same = {name: {"$gte": first[0]}}
        end = await self._first(self._keys(same).sort(backwards))
        return (first if end is None else tuple(end["key"])), await self._rows.count_documents(same, limit=size)

    async def _need_all(self, first: Position, last: Position, size: int) -> None:
        """Compare the documents that the index has from first to last with those that the page's filter finds.

        Raises UsageError where they are not the same; others may write meanwhile, so it looks several times.
        """
        shown = {"place": {"$cmp": [self._values, {"$literal": list(last)}]}}
        for _ in range(LOOKS):
            named = await self._rows.count_documents(self._inside(first, last))
            keys = self._keys(**shown).min(self._at(first)).limit(max(size, named) + 1)
            seen = len([row async for row in keys if row["place"] <= 0])
            if seen == named:
                return
        raise UsageError(
            f"the batch of {self.source} from {first!r} to {last!r} has {seen} documents, and a filter finds {named}",
            state="Nothing of this batch was changed.",
            hint='Walk along another unique index: `key=("a", "b")`.',
        )

    def _need_ranges(self, *ends: Mapping[str, Any] | None) -> None:
        """Refuse a key that is the smallest or the largest value of all: a range with it has values of all types, and
        the server finds nothing at the very end of an index.
        """
        for kind, end in zip((MinKey, MaxKey), ends, strict=True):
            if end is not None and all(isinstance(value, kind) for value in end["key"]):
                raise UsageError(
                    f"{self.source} has a document whose {', '.join(self._key)} is {kind.__name__}, "
                    "and no range of a filter has that value alone",
                    state="Nothing was changed by it.",
                    hint="Change or delete that document, or walk along another unique index.",
                )

    def _spanned(self, first: Position, last: Position) -> dict[str, Any]:
        """Return the filter of a page of a key of several fields.

        What is compared as a whole is exact, but uses no index; so it is joined by conditions on its parts, which let
        nothing of it out and which the index can answer.
        """
        whole = [{"$gte": [self._values, _literal(*first)]}, {"$lte": [self._values, _literal(*last)]}]
        return {"$or": list(_between(self._key, first, last)), "$expr": {"$and": whole}}

    def _keys(self, wanted: Mapping[str, Any] | None = None, **shown: Any) -> AsyncCursor[dict[str, Any]]:
        """Return keys in order; a value that is missing is null, as in the index."""
        found = self._rows.find(wanted or {}, {"_id": 0, "key": self._values, **shown})
        return found.hint(self._order).sort(self._order)

    def _at(self, position: Position) -> list[tuple[str, Any]]:
        return list(zip(self._key, position, strict=True))

    async def _first(self, found: AsyncCursor[dict[str, Any]]) -> dict[str, Any] | None:
        return next(iter(await found.limit(1).to_list()), None)

    async def _size(self) -> tuple[int, int]:
        async for row in await self._rows.aggregate(_SIZE):
            return int(row["rows"]), int(row["bytes"])
        return 0, 0

    async def _know_key(self) -> bool:
        """Say whether the collection is there. Raises UsageError where it cannot be walked along this key."""
        kinds = [each async for each in await self._db.list_collections(filter={"name": self.source})]
        if not kinds:
            return False
        if kinds[0]["type"] != "collection":
            raise UsageError(
                f"{self.source} is a {kinds[0]['type']}, and batches walk over collections",
                state="Nothing was changed by it.",
            )
        indexes = (await self._rows.index_information()).values()
        collation = kinds[0]["options"].get("collation")
        if not any(_fits(self._order, each, collation) for each in indexes) or await self._many_keys():
            raise UsageError(
                f"batches over {self.source} need an order of all of its documents, "
                f"and {', '.join(self._key)} has no index for that",
                state="Nothing was changed by it.",
                hint="Walk along _id, or name the fields of an ascending unique index in their order; it must not be "
                "sparse, partial or hidden, have a collation of its own, or hold arrays.",
            )
        return True

    async def _many_keys(self) -> bool:
        """Say whether the index holds arrays: a document would stand in it at several places."""
        if self._key == ("_id",):
            return False
        asked = {"find": self.source, "hint": dict(self._order), "limit": 1}
        return _flagged(await self._db.command("explain", asked, verbosity="queryPlanner"))

    async def _ask(self, doing: str, question: Callable[[], Awaitable[T]]) -> T:
        with translated(f"{self.source}: {doing}"):
            return await patiently(question)


def _bracket(value: Any) -> str:
    """Return which values a filter compares with this one; "" for one that is found by itself only."""
    kind = next((name for types, name in _BRACKETS if isinstance(value, types)), "")
    if kind == "number" and (value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)).is_nan():
        return "nan"
    return kind


def _range(first: Position, last: Position) -> dict[str, Any]:
    return {"$gte": first[0], "$lte": last[0]}


def _literal(*values: Any) -> dict[str, Any]:
    return {"$literal": list(values)}


def _between(names: Sequence[str], first: Sequence[Any], last: Sequence[Any]) -> list[dict[str, Any]]:
    """Return conditions of which every key from first to last fulfils at least one."""
    name, low, high = names[0], first[0], last[0]
    if len(names) == 1:
        return [_parts(_than(name, "$gte", low), _than(name, "$lte", high))]
    if type(low) is type(high) and low == high and not isinstance(low, Mapping):  # whose order Python does not see
        return [_parts(_than(name, "$eq", low), each) for each in _between(names[1:], first[1:], last[1:])]
    return [
        *(_parts(_than(name, "$eq", low), each) for each in _from(names[1:], first[1:], "$gt")),
        _parts(_than(name, "$gt", low), _than(name, "$lt", high)),
        *(_parts(_than(name, "$eq", high), each) for each in _from(names[1:], last[1:], "$lt")),
    ]


def _from(names: Sequence[str], values: Sequence[Any], sign: str) -> list[dict[str, Any]]:
    """Return conditions of which every key on one side of the values, or at them, fulfils at least one."""
    if len(names) == 1:
        return [_than(names[0], f"{sign}e", values[0])]
    same = [_parts(_than(names[0], "$eq", values[0]), each) for each in _from(names[1:], values[1:], sign)]
    return [_than(names[0], sign, values[0]), *same]


def _than(name: str, sign: str, value: Any) -> dict[str, Any]:
    """Return a condition on one field that an index answers for values of all types; it may let too many in.

    A value that is missing is null in an index, and less than null in an expression.
    """
    if value is None:
        return {name: None} if sign == "$eq" else {}
    return {"$expr": {sign: [f"${name}", {"$literal": value}]}}


def _parts(*conditions: dict[str, Any]) -> dict[str, Any]:
    found = [each for each in conditions if each]
    return {"$and": found} if found else {}


def _fits(order: list[tuple[str, int]], index: Mapping[str, Any], collation: Any) -> bool:
    """Say whether an index has every document once, in this order."""
    single = index.get("unique") or ("_id", 1) in order
    whole = not any(index.get(each) for each in _PARTIAL) and index.get("collation") == collation
    return list(index["key"]) == order and bool(single) and whole


def _flagged(plan: Any) -> bool:
    """Say whether an explained plan, of whatever form, uses an index that holds arrays."""
    if isinstance(plan, Mapping):
        return plan.get("isMultiKey") is True or any(_flagged(each) for each in plan.values())
    return isinstance(plan, list) and any(_flagged(each) for each in plan)
