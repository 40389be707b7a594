"""A channel: where messages go, which ones, and how they read. `[notify.NAME]` in migrator.toml, checked."""

from dataclasses import dataclass, field
from string import Template

from migrator.core.message import Kind, Message


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One `[notify.NAME]`. Empty `environments` and `tags` mean all; times are in seconds.

    `timeout` bounds one message, and (with a second more) what the command waits for this channel at its end.
    """

    name: str
    kind: str
    url: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    sender: str = ""
    to: tuple[str, ...] = ()
    on: frozenset[Kind] = frozenset({Kind.FAILURE, Kind.INTERRUPTED, Kind.LOCK_WAIT})
    environments: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    template: str = ""
    timeout: float = 5.0
    lock_wait_after: float = 60.0

    def speaks_in(self, environment: str) -> bool:
        """Say whether this channel is used in an environment at all."""
        return not self.environments or environment in self.environments

    def wants(self, message: Message) -> bool:
        """Say whether a message goes here. One that is about no revision goes only where no tags are asked for."""
        return message.kind in self.on and (not self.tags or bool(self.tags & message.tags))

    def text(self, message: Message) -> str:
        """Return the message as this channel words it."""
        return Template(self.template).substitute(message.words()) if self.template else message.text()
