"""The right to do a chore: a row beside the lock's, on the server's clock."""

from typing import Any

from migrator.adapters.postgres._link import LIMIT, Link
from migrator.adapters.postgres._queries import Queries
from migrator.adapters.postgres._tracker import PostgresTracker
from migrator.core.errors import LockHeld, LockLost
from migrator.core.protocols import Holder, Owner


class ChoreLease:
    """Implements `core.protocols.Lease` for one chore. Works behind a pooler too: it is no lock of the session."""

    lease = 30.0
    interval = 5.0

    def __init__(self, name: str, chore: str, link: Link, queries: Queries, tracker: PostgresTracker) -> None:
        self._name = name
        self._chore = chore
        self._link = link
        self._queries = queries
        self._tracker = tracker
        self._token = ""

    async def acquire(self, owner: Owner) -> int:
        """Try once. Raises LockHeld with the holder."""
        await self._tracker.create()
        rows = await self._ask("lease", {**owner._asdict(), "owner": owner.token, "lease": self.lease})
        if not rows:
            raise LockHeld(
                f"{self._chore} of {self._name} is being done by {await self.holder() or 'somebody who has just gone'}",
                state="Nothing was changed.",
                hint="Let it finish; a holder that has died keeps it for half a minute.",
            )
        self._token = owner.token
        return int(rows[0]["fence"])

    async def renew(self) -> None:
        """Keep it. Raises LockLost where it is somebody else's or has run out."""
        if not await self._ask("keep", {"owner": self._token, "lease": self.lease}):
            raise LockLost(f"{self._chore} of {self._name} is somebody else's by now", hint="Run the command again.")

    async def holder(self) -> Holder | None:
        """Return who does it now."""
        rows = await self._ask("leased", {})
        return Holder(**rows[0]) if rows else None

    async def release(self) -> None:
        """Give it back."""
        token, self._token = self._token, ""
        if token:
            await self._ask("keep", {"owner": token, "lease": 0.0})

    async def _ask(self, query: str, values: dict[str, Any]) -> list[Any]:
        text = self._queries.text(query, {**values, "chore": self._chore})
        return await self._link.fetch(text, (), f"ask about {self._chore}", limit=LIMIT)
