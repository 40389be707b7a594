"""Notifications of the kind `duck`: a line in the file that the channel's `url` names."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from migrator.core.channel import Channel
    from migrator.core.message import Message

INTERFACE = 1


def connect(channel: "Channel") -> "Callable[[Message], None]":
    """Return what sends one message."""

    def send(message: "Message") -> None:
        with Path(channel.url).open("a", encoding="utf-8") as file:
            file.write(f"{channel.text(message).splitlines()[0]}\n")

    return send
