"""Values as JSON: what an answer holds, without secrets."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from math import isfinite
from typing import Any

from migrator.core.secrets import Mask


def plain(value: Any, mask: Mask) -> Any:
    """Return a value as JSON has it, with every secret replaced. Values know by `as_dict` how they are shown."""
    if type(value) is str:  # most values are texts
        return mask(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    value = _opened(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each, mask) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each, mask) for each in value]
    return mask(str(value))


def _opened(value: Any) -> Any:
    """Return what a value is made of; the value itself where it is not made of others."""
    for name in ("as_dict", "_asdict"):
        if hasattr(value, name):
            return getattr(value, name)()
    return vars(value) if is_dataclass(value) else value
