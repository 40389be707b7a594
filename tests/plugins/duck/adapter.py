"""A database of ducks, kept in the memory of the program."""

from typing import TYPE_CHECKING

from migrator.adapters import memory
from migrator.adapters.memory import Context

if TYPE_CHECKING:
    from migrator.core.protocols import Adapter
    from migrator.core.url import Url

__all__ = ["Context"]

INTERFACE = 1
KIND = "duck"
SCHEMES = ("duck",)
CAPABILITIES = memory.CAPABILITIES
ADDRESS = "${DUCK_URL:-duck://pond/main}"


def adapter(name: str, url: "Url", *, pool: int = 2, connect_timeout: float = 5.0, release: str = "") -> "Adapter":
    """Return the adapter of one database; nothing is opened yet."""
    made = memory.adapter(name, url, pool=pool, connect_timeout=connect_timeout, release=release)
    made.kind = KIND  # type: ignore[misc]
    return made
