"""Arguments that a program gives, checked where a wrong one would be taken for something else."""

from collections.abc import Sequence
from typing import Any

from migrator.core.errors import UsageError


def listed(what: str, words: Sequence[str]) -> Sequence[str]:
    """Return a list of texts as it is. Raises UsageError for one text, whose letters would be taken for the list."""
    if isinstance(words, str) or not all(isinstance(each, str) for each in words):
        raise UsageError(
            f"{what} must be a list of texts, got {words!r}",
            state="Nothing was changed.",
            hint=f'For example: {what}=["main"].',
        )
    return words


def at_least_one(what: str, number: Any) -> int:
    """Return a number of 1 or more as it is. Raises UsageError."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise UsageError(f"{what} must be at least 1, got {number!r}", state="Nothing was changed.")
    return number
