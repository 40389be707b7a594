"""What a MongoDB client sends, told apart: its work, and what only keeps the connection."""

from collections.abc import Callable

from tests.faults.proxy import Do, Message, Plan

QUIET = frozenset({"hello", "ismaster", "isMaster", "ping", "endSessions", ""})
_OP_MSG = "2013"
_DOCUMENT = 16 + 4 + 1 + 4
"""Where the document of an OP_MSG begins: after the header, the flags, the kind of its first section, its length."""


def command(message: Message) -> str:
    """Return the name of a command, "" for what is none."""
    if message.kind != _OP_MSG or len(message.payload) <= _DOCUMENT:
        return ""
    return message.payload[_DOCUMENT + 1 : message.payload.index(b"\0", _DOCUMENT + 1)].decode()


class Work:
    """A plan that counts only work, and does one thing to the message of a number (from 1; 0 for none).

    `names` are the commands in order. `after` is called, in the proxy's thread, when it has happened.
    """

    def __init__(self, number: int, what: Do, after: Callable[[], None] | None = None) -> None:
        self._number = number
        self._what = what
        self._after = after
        self.names: list[str] = []

    def __call__(self, message: Message) -> Do:
        """Say what to do with a message."""
        name = command(message)
        if name in QUIET:
            return Do.PASS
        self.names.append(name)
        if len(self.names) != self._number:
            return Do.PASS
        if self._after is not None:
            self._after()
        return self._what


def nth(name: str, number: int, what: Do) -> Plan:
    """Do this to the number-th (from 1) command of a name."""
    seen = 0

    def plan(message: Message) -> Do:
        nonlocal seen
        if command(message) != name:
            return Do.PASS
        seen += 1
        return what if seen == number else Do.PASS

    return plan
