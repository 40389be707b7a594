"""Who may ask, and what was asked: tokens and the audit of the HTTP API, as one database keeps them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class Role(StrEnum):
    """What somebody may do; each may what the ones before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, wanted: "Role") -> bool:
        """Say whether this role may what `wanted` may."""
        return _RANK.index(self) >= _RANK.index(wanted)


_RANK = tuple(Role)

RUNNING, OK, FAILED = "running", "ok", "failed"
"""How what was asked stands: it is being done, it was done, or it failed."""


@dataclass(frozen=True)
class Identity:
    """Who asks. `databases` are those for which the role holds; () for all of them. `via` says how we know."""

    name: str
    role: Role
    via: str
    databases: tuple[str, ...] = ()

    def may(self, role: Role, databases: Sequence[str] = ()) -> bool:
        """Say whether they may do what needs `role`, at each of these databases; () for all there are."""
        return self.role.covers(role) and self.sees(databases)

    def sees(self, databases: Sequence[str]) -> bool:
        """Say whether each of these databases is among theirs; () means all there are."""
        return not self.databases or (bool(databases) and set(databases) <= set(self.databases))


@dataclass(frozen=True)
class Token:
    """A right to ask, for a program or a person. Only the SHA-256 of its secret is kept.

    Times are ISO 8601 in UTC, "" for never. `databases` () is all of them.
    """

    token_id: str
    name: str
    sha256: str
    role: Role
    databases: tuple[str, ...] = ()
    made_at: str = ""
    made_by: str = ""
    expires_at: str = ""
    revoked_at: str = ""

    def ended(self, now: datetime) -> str:
        """Return how it ended, "" while it holds."""
        if self.revoked_at:
            return f"revoked at {self.revoked_at}"
        expired = self.expires_at and datetime.fromisoformat(self.expires_at) <= now
        return f"expired at {self.expires_at}" if expired else ""


@dataclass(frozen=True)
class Entry:
    """One row of the audit: a call that was to change something, and what became of it.

    Ids sort by time. `asked` is what came with the call; `key` is the caller's Idempotency-Key, and no two entries
    share `who` and a key. Times are ISO 8601 in UTC from the server's clock. `instance` is who does it.
    """

    entry_id: str
    who: str
    role: str
    via: str
    action: str
    address: str = ""
    databases: tuple[str, ...] = ()
    subject: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    instance: str = ""
    word: str = RUNNING
    message: str = ""
    result: Mapping[str, Any] | None = None
    begun_at: str = ""
    ended_at: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the entry for programs."""
        return dict(vars(self))


class Journal(Protocol):
    """Where tokens and the audit of the HTTP API are kept: in one database, beside its tracker.

    What is missing is created by the first write. Needs no lock; every write commits at once.
    """

    async def begin(self, entry: Entry) -> Entry | None:
        """Write an entry; or, where `who` has used its key before, write nothing and return the entry with that key.

        The server's clock says when it began.
        """

    async def end(self, entry_id: str, word: str, message: str, result: Mapping[str, Any] | None) -> None:
        """Write how an entry ended, and when by the server's clock, unless it has ended already."""

    async def entries(self, *, entry_id: str = "", action: str = "", after: str = "", limit: int = 50) -> list[Entry]:
        """Return entries, newest first: at most `limit`, of ids smaller than `after`; the one with that id, where one
        is given, and those of one action. [] where nothing is kept.
        """

    async def tokens(self) -> list[Token]:
        """Return every token, by name, revoked ones too; [] where nothing is kept."""

    async def keep_token(self, token: Token) -> None:
        """Write a token, in place of the one with its id."""
