"""What to do when a batch of a long change fails: the same again, fewer rows, the search for one row, or the end."""

import re
from enum import StrEnum

from migrator.core.errors import (
    CheckFailed,
    DatabaseError,
    MigratorError,
    ResourcesExhausted,
    StatementFailed,
    StatementTimeout,
)

TRIES = 10
"""How often one batch is begun again where the server says that it may succeed."""

STUBBORN = 3
"""How often a batch that met another writer is begun again before it is made smaller, to meet fewer of them."""

_CONFLICTS = ("112", "40001", "40P01")
"""Two writers of one row: MongoDB's number, and the SQLSTATEs of a serialization failure and of a deadlock."""

_SAME_FOR_EVERY_ROW = re.compile(r"(0A|25|26|2F|3F|42|55|57)\w{3}|9|20|26|59|72|73|168|263|40324")
"""SQLSTATE classes and MongoDB error numbers that say that the statement, the table or a person is to blame, no row."""

_UNWRITTEN = (NameError, ImportError, SyntaxError, NotImplementedError)
"""What the script raises for every row alike."""


class Next(StrEnum):
    """What to do after a batch that failed and was rolled back."""

    AGAIN = "again"
    SMALLER = "smaller"
    SPLIT = "split"
    ROW = "row"
    STOP = "stop"


def after(error: Exception, size: int, tries: int) -> Next:
    """Return what to do after a batch of `size` rows failed for the `tries`-th time in a row.

    SPLIT looks for the failing row in halves; ROW says that this is it. What only a new lock or a person can mend, and
    what is the same for every row, stops the loop: it must not be taken for the fault of a row, which may be skipped.
    """
    again = Next.AGAIN if tries < TRIES else Next.STOP
    if isinstance(error, StatementTimeout | ResourcesExhausted):
        return Next.SMALLER if size > 1 else again
    if isinstance(error, DatabaseError) and error.retryable:
        crowded = error.code in _CONFLICTS and tries >= STUBBORN
        return Next.SMALLER if crowded and size > 1 else again
    if not _fault_of_a_row(error):
        return Next.STOP
    return Next.SPLIT if size > 1 else Next.ROW


def _fault_of_a_row(error: Exception) -> bool:
    if isinstance(error, StatementFailed):
        return _SAME_FOR_EVERY_ROW.fullmatch(error.code) is None
    return not isinstance(error, (MigratorError, *_UNWRITTEN)) or isinstance(error, CheckFailed)


def pause(tries: int, chance: float) -> float:
    """Return the seconds before a batch is begun again: 0.25 doubled up to 30, and `chance` (0 to 1) of half of it."""
    whole = min(30.0, 0.25 * 2.0 ** (tries - 1))
    return whole / 2 + whole / 2 * chance
