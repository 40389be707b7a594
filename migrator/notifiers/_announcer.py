"""What all channels share: which events become messages, and how one is posted."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from migrator.core.channel import Channel
from migrator.core.errors import ConfigError, DependencyMissing
from migrator.core.events import Event
from migrator.core.message import HEARD, Message, Messages
from migrator.core.secrets import Mask

Send = Callable[[Message], None]
"""Sends one message, or raises."""

TRIES = 3
"""How often a message is sent at most, all within the channel's timeout."""

MARGIN = 1.0
"""Seconds beside a channel's timeout that the command gives it at its end, for what is not waiting."""

_BUSY = (408, 425, 429)
"""HTTP answers that ask for another try, beside all from 500."""


class NotDelivered(Exception):
    """A message did not arrive; the text says why and holds no address."""


class Announcer:
    """Implements `core.protocols.Notifier` for one channel."""

    hears = HEARD

    def __init__(self, channel: Channel, environment: str, mask: Mask, send: Send) -> None:
        self.name = f"notify.{channel.name}"
        self.patience = channel.timeout + MARGIN
        self._channel = channel
        self._messages = Messages(environment, channel.lock_wait_after, mask)
        self._send = send

    def __call__(self, event: Event) -> None:
        """Send the message that an event calls for, if it is one for this channel."""
        message = self._messages.hear(event)
        if message is not None and self._channel.wants(message):
            self._send(message)


def need(table: str, module: str, extra: str) -> None:
    """Raise DependencyMissing where an extra is not installed, before anything starts; it is not imported."""
    if find_spec(module) is None:
        raise DependencyMissing(
            f"[{table}] needs the extra {extra!r}, which is not installed",
            state="Nothing was changed.",
            hint=f"pip install 'polymigrator[{extra}]', or take [{table}] out.",
        )


def need_scheme(channel: Channel, *schemes: str) -> None:
    """Raise ConfigError where a channel's address does not begin as it must. The address is not shown."""
    if channel.url.partition("://")[0] not in schemes:
        raise ConfigError(
            f"notify.{channel.name}.url must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}",
            state="Nothing was changed.",
            hint="Addresses that are secrets come from a variable: " + 'url = "${SLACK_URL}".',
        )


def post(channel: Channel, body: bytes, headers: Mapping[str, str]) -> None:
    """Post a body to the channel's address. Raises NotDelivered.

    It is posted again only where it surely was not taken: nobody took the connection, or the answer says so.
    """
    import httpx2
    import stamina
    import stamina.instrumentation

    def worth_another(error: Exception) -> bool:
        busy = isinstance(error, httpx2.HTTPStatusError) and _is_busy(error.response.status_code)
        return busy or isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)

    stamina.instrumentation.set_on_retry_hooks([])  # they would log the address
    limit = httpx2.Timeout(channel.timeout, connect=channel.timeout / TRIES)
    retry = stamina.retry_context(
        on=worth_another, attempts=TRIES, timeout=channel.timeout, wait_initial=0.2, wait_jitter=0.2
    )
    try:
        with httpx2.Client(timeout=limit) as client:
            for attempt in retry:
                with attempt:
                    client.post(channel.url, content=body, headers=dict(headers)).raise_for_status()
    except httpx2.HTTPStatusError as error:
        raise NotDelivered(f"the answer was {error.response.status_code}") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise NotDelivered(type(error).__name__) from None


def _is_busy(status: int) -> bool:
    return status in _BUSY or status >= 500  # noqa: PLR2004 - the server's own errors
