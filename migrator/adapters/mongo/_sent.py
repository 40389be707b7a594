"""Whether a script has sent a command that may change something: what fails before that has done nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

_READS = {
    *("aggregate", "count", "distinct", "explain", "find", "getMore", "killCursors", "listCollections"),
    *("buildInfo", "collStats", "connectionStatus", "dbStats", "hello", "listDatabases", "listIndexes", "ping"),
}
"""Commands that change nothing, but for an aggregation that ends with one of `_WRITING_STAGES`."""

_WRITING_STAGES = frozenset(("$out", "$merge"))


class Sent:
    """What the commands of one context have been seen to do."""

    changing = False


_CURRENT: ContextVar[Sent | None] = ContextVar("migrator_sent", default=None)


@contextmanager
def watched() -> Iterator[Sent]:
    """Note what this task and its children send in the block, on every client."""
    sent = Sent()
    token = _CURRENT.set(sent)
    try:
        yield sent
    finally:
        _CURRENT.reset(token)


class Watch(CommandListener):
    """Hears of every command of a client in the task that sends it, after it was encoded and before it is sent."""

    def started(self, event: CommandStartedEvent) -> None:
        """Note a command that may change something."""
        sent = _CURRENT.get()
        if sent is not None and not sent.changing:
            sent.changing = _is_changing(event.command_name, event.command)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Do nothing."""


def _is_changing(name: str, command: Mapping[str, Any]) -> bool:
    if name not in _READS:
        return True
    return any(_WRITING_STAGES.intersection(stage) for stage in command.get("pipeline", ()))
