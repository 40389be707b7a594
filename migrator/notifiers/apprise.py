"""A message to any of the hundred services that Apprise knows; `url` is one of its addresses."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from migrator.core.channel import Channel
from migrator.core.message import Message
from migrator.notifiers._announcer import NotDelivered, Send, need


def connect(channel: Channel) -> Send:
    """Return what sends a message. Raises DependencyMissing."""
    need(f"notify.{channel.name}", "apprise", "apprise")

    def send(message: Message) -> None:
        import apprise  # only now: it loads every service, which takes a second

        with _silent(logging.getLogger("apprise")):
            service = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False))  # threads would outlive the command
            if not service.add(channel.url):
                raise NotDelivered("Apprise does not know this kind of address")
            if not service.notify(title=message.title, body=channel.text(message)):
                raise NotDelivered("Apprise could not deliver it")

    return send


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Let a logger say nothing for a while: its warnings repeat ours, with parts of the address."""
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
