"""A message to any of the hundred services that Apprise knows; `url` is one of its addresses."""

import logging

from migrator.core.channel import Channel
from migrator.core.message import Message
from migrator.notifiers._announcer import NotDelivered, Send, need


def connect(channel: Channel) -> Send:
    """Return what sends a message. Raises DependencyMissing."""
    need(channel, "apprise", "apprise")

    def send(message: Message) -> None:
        import apprise  # only now: it loads every service, which takes a second

        logging.getLogger("apprise").addHandler(logging.NullHandler())  # its warnings would show parts of the address
        service = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False))  # no threads that outlive the command
        if not service.add(channel.url):
            raise NotDelivered("Apprise does not know this kind of address")
        if not service.notify(title=message.title, body=channel.text(message)):
            raise NotDelivered("Apprise could not deliver it")

    return send
