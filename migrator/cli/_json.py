"""JSON for programs, without secrets."""

import json
from collections.abc import Mapping
from typing import Any

from migrator.core.secrets import Mask


def dumps(document: Any, mask: Mask) -> str:
    """Return a document as JSON; texts are masked before they are escaped: a secret may look different after."""
    return json.dumps(_masked(document, mask), default=lambda value: mask(str(value)))


def _masked(value: Any, mask: Mask) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {key: _masked(each, mask) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(each, mask) for each in value]
    return value
