"""A revision: what its file says, without the code in it; and a script: the code, once it is loaded."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

ID = re.compile(r"[A-Za-z0-9_]{1,64}")
"""What an id or a label may look like. `+`, `-`, `@` and `:` belong to targets."""

DEFAULT_TIMEOUT = 300.0
"""Seconds that one step may take where neither the revision nor migrator.toml says otherwise."""


class Key(NamedTuple):
    """The name of a revision among all databases; as text `events:77aa01`."""

    database: str
    id: str

    def __str__(self) -> str:
        """Return `database:id`."""
        return f"{self.database}:{self.id}"


class Direction(StrEnum):
    """Which way a step goes."""

    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the constants of a revision file say. All of it is read without running the file.

    A `repeatable` one has no place in the order: it runs whenever its text changed, on demand, or on a schedule. One
    that runs `once` has none either: it runs on demand or on a schedule, until it has succeeded.
    `environments` are those in which it runs at all, () for every one; `requires` must be there before it starts, and
    the loops named in `requires_backfill` must be done.

    `depends_on` holds ids of the same database, or `database:id`. `transaction` is None where the file leaves the
    choice to the database (PostgreSQL: on, MongoDB: off). `timeout` is in seconds; 0 means none, None the default.
    """

    revision: str
    down_revision: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    branch_labels: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    transaction: bool | None = None
    timeout: float | None = None
    rerunnable: bool = False
    allow_pooled: bool = False
    on_failed_verify: str | None = None
    repeatable: bool = False
    once: bool = False
    environments: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    requires_backfill: tuple[str, ...] = ()
    title: str = ""
    functions: frozenset[str] = frozenset()

    @property
    def is_script(self) -> bool:
        """Return whether the file is a script beside the ordered history."""
        return self.repeatable or self.once


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One file of a history: its header, its text, and the database it belongs to.

    `path` is where the text came from, for messages; `stored` says that it came from the tracker, because the file
    is not here.
    """

    database: str
    header: Header
    path: str
    source: str
    checksum: str
    stored: bool = False

    def __repr__(self) -> str:
        """Return what tells it from another."""
        return f"<Revision {self.key} {self.title!r}>"

    @property
    def id(self) -> str:
        """Return the id, unique in its database."""
        return self.header.revision

    @property
    def key(self) -> Key:
        """Return the id together with the database."""
        return Key(self.database, self.header.revision)

    @property
    def title(self) -> str:
        """Return the first line of the file's description."""
        return self.header.title

    @property
    def down(self) -> tuple[Key, ...]:
        """Return the parents in the same history."""
        return tuple(Key(self.database, parent) for parent in self.header.down_revision)

    @property
    def depends_on(self) -> tuple[Key, ...]:
        """Return the cross links, each with its database."""
        return tuple(key_of(text, self.database) for text in self.header.depends_on)

    @property
    def reversible(self) -> bool:
        """Say whether there is a downgrade."""
        return "downgrade" in self.header.functions

    @property
    def verifiable(self) -> bool:
        """Say whether there is a verify."""
        return "verify" in self.header.functions

    def batched(self, direction: Direction) -> bool:
        """Say whether the script of a direction walks in batches: its own function names `ctx.batches`."""
        return bool(self.loops(direction))

    def loops(self, direction: Direction) -> tuple[str, ...]:
        """Return the names of the loops in the script of a direction, "" for one whose name is not written out."""
        if ".batches" not in self.source:
            return ()
        from migrator.core.loops import loops

        return loops(self.source, direction)

    def in_database(self, name: str) -> "Revision":
        """Return this revision as one of another database."""
        return replace(self, database=name)


Function: TypeAlias = Callable[[Any], Awaitable[Any]]


class Validation(NamedTuple):
    """What a script's `validate` found before anything changed: errors stop it, warnings are logged."""

    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class Script:
    """The functions of a revision, loaded; each takes the context.

    A file may hold one subclass of it in place of the functions. `verify` returns True or False, an Effect, or None
    after at least one `ctx.check`; `validate` a Validation or None. `setup` runs before the work and in the same
    transaction, `cleanup` after it in any case, outside. `Params` is the type of `ctx.params`.
    """

    upgrade: Function
    downgrade: Function | None = None
    verify: Function | None = None
    setup: Function | None = None
    validate: Function | None = None
    cleanup: Function | None = None
    Params: type | None = None

    forgotten: Mapping[str, tuple[int, str]] = MappingProxyType({})
    """The first call that lacks an `await`, its line and its words, by the function in which it is; "" for a function
    that is not one of these.
    """

    @classmethod
    def of(cls, functions: Mapping[str, Function]) -> "Script":
        """Return a script of plain functions by name."""
        script = cls()
        vars(script).update(functions)
        return script

    def function(self, direction: Direction) -> Function | None:
        """Return the function for one direction, None where there is none."""
        return self.upgrade if direction is Direction.UPGRADE else self.downgrade


def key_of(text: str, database: str) -> Key:
    """Read `id` or `database:id`."""
    other, colon, rest = text.rpartition(":")
    return Key(other, rest) if colon else Key(database, text)


def checksum_of(source: str) -> str:
    """Return the checksum of a revision's text: SHA-256 over UTF-8 with LF line ends and without a BOM.

    The name of the method is part of the value, so that a later method can stand beside it.
    """
    text = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return "sha256-lf1:" + sha256(text.encode()).hexdigest()
