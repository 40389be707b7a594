"""Values of environment variables: read without the blanks around them, and refused instead of guessed at."""

from collections.abc import Iterable, Mapping

from migrator.core.errors import ConfigError
from migrator.core.utf8 import is_utf8

TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
FALSE = frozenset({"", "0", "false", "f", "no", "n", "off"})

_CLOSE = 0.8
"""The similarity, as difflib measures it, from which an unknown name counts as a slip for a protected one."""

_SHORTEST = 3
"""Letters from which the beginning of a name counts as its abbreviation."""


def text(env: Mapping[str, str], name: str) -> str:
    """Return a variable without the blanks around it, "" if it is not set. ConfigError if it is not UTF-8."""
    refuse_odd(env, name)
    return env.get(name, "").strip()


def refuse_odd(env: Mapping[str, str], name: str) -> None:
    """Raise ConfigError if a variable is not UTF-8."""
    if not is_utf8(env.get(name, "")):
        raise ConfigError(
            f"the environment variable {name} is not UTF-8 text",
            state="Nothing was changed.",
            hint=f"Set {name} to UTF-8 text.",
        )


def flag(env: Mapping[str, str], name: str) -> bool:
    """Return whether a switch is on. ConfigError unless it is one of the known words, in any case."""
    value = text(env, name).lower()
    if value not in TRUE | FALSE:
        raise ConfigError(
            f"the environment variable {name} is neither on nor off",
            state="Nothing was changed.",
            hint=f"Set {name} to 1, true, yes or on, or to 0, false, no or off.",
        )
    return value in TRUE


def lookalike(name: str, known: Iterable[str]) -> str:
    """Return the known name from which this one differs only by case, blanks or punctuation, "" if there is none."""
    folded = _folded(name)
    return next((each for each in known if each != name and _folded(each) == folded), "")


def slip_for(name: str, known: Iterable[str]) -> str:
    """Return the known name for which this one is probably a misspelling or an abbreviation, "" if there is none."""
    from difflib import SequenceMatcher

    folded = _folded(name)
    for each in known:
        other = _folded(each)
        shorter, longer = sorted((folded, other), key=len)
        if len(shorter) >= _SHORTEST and longer.startswith(shorter):
            return each
        if SequenceMatcher(None, folded, other).ratio() >= _CLOSE:
            return each
    return ""


def _folded(name: str) -> str:
    from unicodedata import normalize

    return "".join(letter for letter in normalize("NFKC", name).casefold() if letter.isalnum())
