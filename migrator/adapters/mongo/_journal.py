"""The audit of the HTTP API and its tokens in one MongoDB database: two collections beside the tracker.

They do not belong to the version of the tracker: the first write makes them. What came with a call and what became of
it are kept as JSON text: BSON has no room for every number, name and depth that JSON has.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import pymongo
from pymongo.errors import DuplicateKeyError

from migrator.adapters.mongo._errors import translated
from migrator.adapters.mongo._rows import AUDIT, TOKENS, iso
from migrator.adapters.mongo._work import COMMIT, LOCAL, SHORT, Documents, Work
from migrator.core.journal import Entry, Role, Token

_JSON = ("asked", "result")
_TIMES = ("begun_at", "ended_at")
_USED = pymongo.IndexModel(
    [("who", 1), ("key", 1)], name="used", unique=True, partialFilterExpression={"key": {"$gt": ""}}
)


class MongoJournal:
    """Implements `core.journal.Journal`. `name` is the configured name of the database."""

    def __init__(self, work: Work, name: str) -> None:
        self._name = name
        self._work = work

    @property
    def _entries(self) -> Documents:
        return self._work.home.of(AUDIT)

    @property
    def _tokens(self) -> Documents:
        return self._work.home.of(TOKENS)

    async def begin(self, entry: Entry) -> Entry | None:
        """Write an entry, or return the one with which the same caller used the same key before."""
        # An update because only an update can use the server's clock; the second field keeps it from changing one.
        wanted = {"_id": entry.entry_id, "begun_at": {"$exists": False}}
        row = {"$mergeObjects": [{"$literal": _document(entry)}, {"begun_at": "$$NOW", "ended_at": None}]}
        with self._told("write the audit", writing=True):
            await self._entries.create_indexes([_USED])  # asked for each time: nothing happens where it is there
            try:
                await self._entries.update_one(wanted, [{"$replaceWith": row}], upsert=True)
            except DuplicateKeyError:
                # What was committed just now is not yet known to a majority, and is the answer all the same.
                local = self._entries.with_options(read_concern=LOCAL)
                before = await local.find_one({"who": entry.who, "key": entry.key}) if entry.key else None
                if before is None:
                    raise
                return _entry(before)
        return None

    async def end(self, entry_id: str, word: str, message: str, result: Mapping[str, Any] | None) -> None:
        """Write how an entry ended."""
        said = {"word": word, "message": message, "result": _text(result)}
        change = {"$set": said, "$currentDate": {"ended_at": True}}
        with self._told("write the audit", writing=True):
            await self._entries.update_one({"_id": entry_id, "ended_at": None}, change)

    async def entries(self, *, entry_id: str = "", action: str = "", after: str = "", limit: int = 50) -> list[Entry]:
        """Return entries, newest first."""
        found = {"_id": entry_id and {"$eq": entry_id}, "action": action and {"$eq": action}}
        wanted: list[dict[str, Any]] = [{name: each} for name, each in found.items() if each]
        if after:
            wanted.append({"_id": {"$lt": after}})
        with self._told("read the audit"):
            return [
                _entry(row)
                async for row in self._entries.find({"$and": wanted} if wanted else {}).sort("_id", -1).limit(limit)
            ]

    async def tokens(self) -> list[Token]:
        """Return every token, by name."""
        with self._told("read the tokens"):
            return [_token(row) async for row in self._tokens.find().sort([("name", 1), ("_id", 1)])]

    async def keep_token(self, token: Token) -> None:
        """Write a token, in place of the one with its id."""
        row = {**vars(token), "role": token.role.value, "databases": list(token.databases)}
        del row["token_id"]
        with self._told("keep the token", writing=True):
            await self._tokens.replace_one({"_id": token.token_id}, row, upsert=True)

    @contextmanager
    def _told(self, what: str, *, writing: bool = False) -> Iterator[None]:
        with translated(f"{self._name}: {what}", writing=writing), pymongo.timeout(SHORT + COMMIT):
            yield


def _document(entry: Entry) -> dict[str, Any]:
    row = {**vars(entry), "_id": entry.entry_id, "databases": list(entry.databases)}
    row.update({name: _text(row[name]) for name in _JSON})
    return {name: value for name, value in row.items() if name not in ("entry_id", *_TIMES)}


def _text(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, default=str)


def _entry(row: Mapping[str, Any]) -> Entry:
    values = {each.name: row[each.name] for each in fields(Entry) if each.name != "entry_id"}
    values.update({name: None if row[name] is None else json.loads(row[name]) for name in _JSON})
    values.update({name: iso(row[name]) for name in _TIMES})
    return Entry(**{**values, "entry_id": row["_id"], "databases": tuple(row["databases"])})


def _token(row: Mapping[str, Any]) -> Token:
    values = {each.name: row[each.name] for each in fields(Token) if each.name != "token_id"}
    changed = {"role": Role(row["role"]), "databases": tuple(row["databases"])}
    return Token(**{**values, **changed, "token_id": row["_id"]})
