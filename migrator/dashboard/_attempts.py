"""How often somebody failed to log in, so that guessing is slow. Kept by each instance for itself."""

from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from time import monotonic

MOST = 10
"""Failures that are forgiven within `SECONDS`."""

SECONDS = 60.0
KEPT = 10_000
"""Addresses that are remembered; the one that failed longest ago is forgotten first."""


class Attempts:
    """Failed logins by kind ("token", "password") and by address; one network of IPv6 counts as one address."""

    def __init__(self) -> None:
        self._failed: OrderedDict[tuple[str, str], list[float]] = OrderedDict()

    def wait(self, kind: str, address: str) -> float:
        """Return for how many seconds nothing is tried for this address, 0 where it may try now."""
        times = self._failed.get((kind, _whole(address)), [])
        recent = [each for each in times if monotonic() - each < SECONDS]
        return recent[0] + SECONDS - monotonic() if len(recent) >= MOST else 0.0

    def failed(self, kind: str, address: str) -> None:
        """Count a failure."""
        key = (kind, _whole(address))
        times = self._failed.pop(key, [])
        self._failed[key] = [*times[1 - MOST :], monotonic()]
        if len(self._failed) > KEPT:
            self._failed.popitem(last=False)


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address, an IPv4 one also where it is written as IPv6; None where it is none."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _whole(text: str) -> str:
    """Return what counts as one: an address, of IPv6 its network, because whoever has one address has all of it."""
    found = address_of(text)
    return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else text
