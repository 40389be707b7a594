"""Opening one connection: the hosts of an address in their order, each with its own time, as libpq does."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import asyncpg

from migrator.adapters.postgres._address import Address, Host
from migrator.core.errors import ConfigError, ConnectionFailed

GRACE = 0.5
"""Seconds more for all hosts together, so that the last one's own limit comes first and its reason is told."""

_NEXT = (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.exceptions.TargetServerAttributeNotMatched)
"""Errors after which the next host is tried. A server that refuses the user or the database has answered for all."""


class Connector:
    """Opens connections for a pool. `timeout` is in seconds for each host, `limit` for all of them.

    `at` is where the last connection leads, None before the first.
    """

    def __init__(self, name: str, address: Address, timeout: float) -> None:
        self._name = name
        self._address = address
        self._limit = address.connect_timeout or timeout
        self.limit = self._limit * len(address.hosts) * (2 if address.prefers_standby else 1) + GRACE
        self.at: Host | None = None

    async def __call__(self, _dsn: None = None, **options: Any) -> Any:
        """Return a connection to the first host that takes one. The pool gives its own options, and no address.

        Raises the error of the only host, or ConnectionFailed with the reason of each; ConfigError where the driver
        does not take the address.
        """
        failed: list[tuple[Host, BaseException]] = []
        for host, attribute in self._places():
            try:
                async with asyncio.timeout(self._limit):
                    connection = await asyncpg.connect(**{**host.options, **attribute, **options})
            except asyncpg.exceptions.ClientConfigurationError as error:
                raise ConfigError(
                    f"{self._name}: the address cannot be used: {error}",
                    state="Nothing was changed.",
                    hint="Correct the address of the database.",
                ) from error
            except _NEXT as error:
                failed.append((host, error))
            else:
                self.at = host
                return connection
        if len(failed) == 1:
            raise failed[0][1]
        reasons = "; ".join(f"{host}: {_reason(error, self._limit)}" for host, error in failed)
        raise ConnectionFailed(
            f"{self._name}: could not connect to any of the hosts: {reasons}",
            state="Nothing was changed.",
            hint="Are the servers running, and the hosts and ports right? Then run the command again.",
        ) from failed[-1][1]

    def _places(self) -> Iterator[tuple[Host, dict[str, Any]]]:
        hosts = list(self._address.hosts)
        if self._address.shuffled:
            random.shuffle(hosts)
        if self._address.prefers_standby:
            yield from ((host, {"target_session_attrs": "standby"}) for host in hosts)
        yield from ((host, {}) for host in hosts)


def _reason(error: BaseException, limit: float) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer in {limit:g} s"
    return (str(error) or type(error).__name__).splitlines()[0]
