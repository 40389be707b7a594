"""The right to do a chore, for what is in the memory of this program: nobody in it can die before the others."""

from datetime import UTC, datetime
from itertools import count
from typing import TypeAlias

from migrator.core.errors import LockHeld, LockLost
from migrator.core.protocols import Holder, Owner

Chores: TypeAlias = dict[str, tuple[Owner, str]]
"""Who does each chore, and since when."""

_FENCES = count(1)


class ChoreLease:
    """Implements `core.protocols.Lease` over a dict that all of its holders share."""

    lease, interval = float("inf"), 15.0

    def __init__(self, chores: Chores, chore: str) -> None:
        self._chores = chores
        self._chore = chore
        self._owner: Owner | None = None

    async def acquire(self, owner: Owner) -> int:
        """Take it where nobody has it."""
        if self._chore in self._chores:
            raise LockHeld(f"{self._chore} is being done by {await self.holder()}", hint="Let it finish.")
        self._owner = owner
        self._chores[self._chore] = (owner, datetime.now(UTC).isoformat(timespec="milliseconds"))
        return next(_FENCES)

    async def renew(self) -> None:
        """Say that we live. Raises LockLost where it is not ours."""
        if self._owner is None or self._chores.get(self._chore, (None, ""))[0] is not self._owner:
            raise LockLost(f"{self._chore} is not ours any more")

    async def holder(self) -> Holder | None:
        """Return who does it now."""
        owner, since = self._chores.get(self._chore, (None, ""))
        return owner and Holder(owner.host, owner.pid, owner.user, since)

    async def release(self) -> None:
        """Give it back."""
        if self._owner is not None and self._chores.get(self._chore, (None, ""))[0] is self._owner:
            del self._chores[self._chore]
        self._owner = None
