"""The words in which people change the settings of a long change while it runs: `target=0.2`, `max_rows=500`."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from migrator.core.batch import Settings
from migrator.core.errors import UsageError

_UNCHANGED = "Nothing was changed."


def settings_of(words: Sequence[str]) -> Mapping[str, float]:
    """Return the settings that `name=value` words change. Raises UsageError, with did-you-mean."""
    found: dict[str, float] = {}
    for word in words:
        name, equals, text = word.partition("=")
        kind = _KINDS.get(name)
        if kind is None:
            raise UsageError(f"there is no setting {name!r}", state=_UNCHANGED, hint=_near(name))
        found[name] = _number(word, text if equals else "", kind)
    if not found:
        raise UsageError("tune needs a setting", state=_UNCHANGED, hint=_EXAMPLE)
    problem = Settings(**{**vars(Settings()), **found}).odd
    if problem:
        raise UsageError(problem, state=_UNCHANGED, hint=_EXAMPLE)
    return found


def _number(word: str, text: str, kind: type) -> float:
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise UsageError(f"{word!r}: it takes {wanted}", state=_UNCHANGED, hint=_EXAMPLE) from None


def _near(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, _KINDS, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(_KINDS)}."


_KINDS: Mapping[str, type] = {each.name: type(each.default) for each in fields(Settings)}
_EXAMPLE = "For example `migrator tune target=0.2 max_rows_per_second=500`; target is in seconds for each batch."
