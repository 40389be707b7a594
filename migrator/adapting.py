"""What adapters have in common, for those of other distributions. `adapters/memory.py` shows how it is used."""

from migrator.adapters._chores import ChoreLease, Chores
from migrator.adapters._context import ContextBase
from migrator.adapters._journal import MemoryJournal
from migrator.adapters._retiring import applied, retired, retires
from migrator.adapters._shared import Room, Shared, to_the_end

__all__ = [
    "ChoreLease",
    "Chores",
    "ContextBase",
    "MemoryJournal",
    "Room",
    "Shared",
    "applied",
    "retired",
    "retires",
    "to_the_end",
]
