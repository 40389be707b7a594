"""What a script returns: kept with its run, as far as JSON and the databases can hold it."""

import json
import logging
from collections.abc import Mapping
from math import isfinite
from typing import Any

from migrator.core.secrets import Mask
from migrator.core.utf8 import readable

MOST = 1 << 16
"""Bytes of JSON that are kept of one run."""

_LARGEST = 1 << 63


def returned(value: object, mask: Mask, log: logging.Logger) -> Mapping[str, Any] | None:
    """Return a mapping that a script returned as plain JSON without secrets; None for anything else.

    What JSON cannot hold becomes a text. A mapping of more than MOST bytes is not kept, which the log says.
    """
    if not isinstance(value, Mapping):
        return None
    kept: dict[str, Any] = _plain(value, mask)
    size = len(json.dumps(kept))
    if size > MOST:
        log.warning("the script returned %d bytes, and at most %d are kept: its result is dropped", size, MOST)
        return None
    return kept


def _plain(value: object, mask: Mask) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -_LARGEST <= value < _LARGEST:
        return int(value)
    if isinstance(value, float) and isfinite(value):
        return float(value)
    if isinstance(value, Mapping):
        return {mask(readable(str(name))): _plain(each, mask) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each, mask) for each in value]
    return mask(readable(str(value)))
