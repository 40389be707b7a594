"""A TCP proxy that does harm on purpose: cuts, black holes, half-open links, delays, throttles; by message or by time.

It runs in a thread with an event loop of its own, so that tests with and without a loop can drive it:

    with Proxy("127.0.0.1", 5432, POSTGRES) as proxy:
        proxy.plan = at(17, Do.CUT_AFTER)        # the 17th message of the client, over all connections, from 1
        ...                                      # run the program against proxy.url(url)
        assert proxy.fired                       # a fault that did not fire fails the test

`plan` is asked once for every whole message of the client, before it is forwarded, and says what to `Do`. It runs in
the proxy's thread. Messages are told apart by a framing: `POSTGRES`, `OP_MSG` (MongoDB), or `CHUNKS` (whatever one read
gave). A framing of one's own is any callable `() -> Framing`, made afresh for each connection.

Besides, `proxy.client` and `proxy.server` are the two directions (what the client sends, what the server sends), each a
`Flow` whose fields may be changed at any moment: `delay` (seconds for each message), `rate` (bytes a second), `stop`
(read nothing any more, keep the socket: half-open), `hole` (read and drop), `cut_after_bytes`, `cut_after_messages`.
`black_hole()` drops both directions from now on and lets new ones hang, `sever()` cuts all that is open, `refuse`
closes new connections at once, `heal()` ends all of it for new connections.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol, Self
from urllib.parse import urlsplit, urlunsplit

CHUNK = 1 << 16
TICK = 0.02
"""Seconds between two looks of a link that is stopped."""

LIMIT = 10.0
"""Seconds that the proxy itself may take to start or to end."""


class Do(Enum):
    """What to do with a message of the client."""

    PASS = auto()
    CUT_BEFORE = auto()
    """Cut the connection; the server never sees the message."""
    CUT_AFTER = auto()
    """Forward the message, then cut: the server acts on it, the client never hears."""
    CUT_REPLY = auto()
    """Forward the message, wait until the server says anything, drop that, and cut: it surely took effect."""
    SWALLOW = auto()
    """Drop the message and all that follows in both directions, and keep the connection open: a black hole."""
    HOLD = auto()
    """Forward nothing of the client, not even this message, until `Proxy.release()`."""


@dataclass(frozen=True)
class Message:
    """A whole message of the client. `number` counts from 1 over all connections, `own` within its connection.

    `kind` is the framing's word for it; `payload` is all of its bytes.
    """

    number: int
    connection: int
    own: int
    kind: str
    payload: bytes


Plan = Callable[[Message], Do]


class Framing(Protocol):
    """Cuts a stream into messages. It keeps what is not whole yet."""

    def feed(self, received: bytes) -> list[tuple[str, bytes]]:
        """Return the messages that are whole by now, each with a word for its kind; their bytes are the stream."""


class _Chunks:
    def feed(self, received: bytes) -> list[tuple[str, bytes]]:
        return [("chunk", received)]


class _LengthFirst:
    """Messages that begin with their own length as an int32, as MongoDB's do."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> list[tuple[str, bytes]]:
        self._rest += received
        found = []
        while len(self._rest) >= 16 and len(self._rest) >= (size := int.from_bytes(self._rest[:4], "little")):
            whole, self._rest = self._rest[:size], self._rest[size:]
            found.append((str(int.from_bytes(whole[12:16], "little")), whole))
        return found


_NO_KIND = {196608: "startup", 80877103: "ssl", 80877104: "gss", 80877102: "cancel"}


class _Postgres:
    """A client's messages: until the start-up message they have no letter, later the letter is their kind."""

    def __init__(self) -> None:
        self._rest = b""
        self._started = False

    def feed(self, received: bytes) -> list[tuple[str, bytes]]:
        self._rest += received
        found = []
        while (one := self._next()) is not None:
            found.append(one)
        return found

    def _next(self) -> tuple[str, bytes] | None:
        head = 1 if self._started else 0
        if len(self._rest) < head + 4:
            return None
        size = head + int.from_bytes(self._rest[head : head + 4], "big")
        if len(self._rest) < size:
            return None
        whole, self._rest = self._rest[:size], self._rest[size:]
        if self._started:
            return chr(whole[0]), whole
        code = int.from_bytes(whole[4:8], "big")
        kind = _NO_KIND.get(code, "startup")
        self._started = kind == "startup"
        return kind, whole


CHUNKS: Callable[[], Framing] = _Chunks
OP_MSG: Callable[[], Framing] = _LengthFirst
POSTGRES: Callable[[], Framing] = _Postgres


def at(number: int, what: Do) -> Plan:
    """Do this to the message of that number, let all others pass."""
    return lambda message: what if message.number == number else Do.PASS


def first(match: Callable[[Message], bool], what: Do) -> Plan:
    """Do this to the first message that fits, let all others pass."""
    done = False

    def plan(message: Message) -> Do:
        nonlocal done
        if done or not match(message):
            return Do.PASS
        done = True
        return what

    return plan


def says(text: bytes) -> Callable[[Message], bool]:
    """Fit messages whose bytes hold this text."""
    return lambda message: text in message.payload


@dataclass
class Flow:
    """One direction of all connections; see the module. The counts are of all connections together."""

    delay: float = 0.0
    rate: float = 0.0
    stop: bool = False
    hole: bool = False
    cut_after_bytes: int | None = None
    cut_after_messages: int | None = None
    bytes: int = 0
    messages: int = 0

    @property
    def used_up(self) -> bool:
        """Say whether as much has passed as may pass."""
        return (self.cut_after_bytes is not None and self.bytes >= self.cut_after_bytes) or (
            self.cut_after_messages is not None and self.messages >= self.cut_after_messages
        )


@dataclass
class _Pair:
    number: int
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    swallowed: bool = False
    cut_on_reply: bool = False
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def cut(self) -> None:
        """Reset the client's side; the server's side gets all that was forwarded, and then an end."""
        with suppress(OSError, RuntimeError):
            self.client.transport.abort()
        with suppress(OSError, RuntimeError):
            self.server.close()


class Proxy:
    """See the module. `log` holds the kinds of the client's messages in order, `fired` what the plan did."""

    def __init__(self, host: str, port: int, framing: Callable[[], Framing] = CHUNKS) -> None:
        self._target = (host, port)
        self._framing = framing
        self.client = Flow()
        self.server = Flow()
        self.refuse = False
        self.plan: Plan = lambda message: Do.PASS
        self.log: list[str] = []
        self.fired: list[Message] = []
        self._fired = threading.Event()
        self._held = False
        self._pairs: list[_Pair] = []
        self._connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)
        self._ready = threading.Event()
        self.port = 0

    # What the test calls, from any thread.

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(LIMIT), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), "the proxy did not end"

    def url(self, url: str) -> str:
        """Return the address with the proxy in place of the server."""
        parts = urlsplit(url)
        userinfo, at_sign, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{userinfo}{at_sign}127.0.0.1:{self.port}"))

    @property
    def messages(self) -> int:
        """Return how many messages clients have sent so far."""
        return len(self.log)

    def reset(self, plan: Plan | None = None) -> None:
        """Count from zero again and take another plan; call it while nothing is open."""
        self.plan = plan or (lambda message: Do.PASS)
        self.log = []
        self.fired = []
        self._fired.clear()
        self.client, self.server = Flow(), Flow()
        self.refuse = self._held = False

    def wait_fired(self, limit: float = 30.0) -> Message:
        """Wait until the plan did something, and return to what. A fault that does not fire fails the test."""
        assert self._fired.wait(limit), f"the fault did not fire: {len(self.log)} messages passed"
        return self.fired[0]

    def black_hole(self) -> None:
        """Drop whatever comes from now on, in both directions and on new connections, and close nothing."""
        self.client.hole = self.server.hole = True

    def sever(self) -> None:
        """Cut all that is open now."""

        def cut_all() -> None:
            for pair in list(self._pairs):
                pair.cut()

        self._call(cut_all)

    def release(self) -> None:
        """Forward what a plan holds, and what follows."""
        self._held = False

    def heal(self) -> None:
        """Let new connections, and new messages of those that are left, pass as they are."""
        self.client, self.server = Flow(), Flow()
        self.refuse = self._held = False

    @property
    def open(self) -> int:
        """Return how many connections are open."""
        return len(self._pairs)

    # What runs in the proxy's own thread.

    def _call(self, what: Callable[[], object]) -> None:
        done = threading.Event()

        def run() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(LIMIT)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for pair in list(self._pairs):
            pair.cut()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        try:
            from_server, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        for each in (writer, to_server):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections += 1
        pair = _Pair(self._connections, writer, to_server)
        self._pairs.append(pair)
        pair.tasks = [
            asyncio.create_task(self._upstream(pair, reader)),
            asyncio.create_task(self._downstream(pair, from_server)),
        ]
        try:
            await asyncio.wait(pair.tasks, return_when=asyncio.FIRST_COMPLETED)
            if pair.swallowed:
                await asyncio.wait(pair.tasks[:1])  # not even the server's end of it comes out of a black hole
            await self._drained(pair)
        except asyncio.CancelledError:
            pass  # the proxy ends
        finally:
            for task in pair.tasks:
                task.cancel()
            pair.cut()
            self._pairs.remove(pair)

    async def _drained(self, pair: _Pair) -> None:
        """When one side has ended, let the other's last words through for a moment, as a network does."""
        with suppress(OSError):
            for writer in (pair.client, pair.server):
                if writer.can_write_eof() and not writer.is_closing():
                    writer.write_eof()
        await asyncio.wait(pair.tasks, timeout=0.5)

    async def _upstream(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        framing, own = self._framing(), 0
        with suppress(OSError):
            while received := await self._read(reader, self.client):
                for kind, payload in framing.feed(received):
                    own += 1
                    self.log.append(kind)
                    message = Message(len(self.log), pair.number, own, kind, payload)
                    if not await self._treat(pair, message):
                        return

    async def _treat(self, pair: _Pair, message: Message) -> bool:
        """Forward one message of the client, or not; False ends the connection."""
        what = Do.PASS if pair.swallowed else self.plan(message)
        if what is not Do.PASS:
            self.fired.append(message)
            pair.swallowed = pair.swallowed or what is Do.SWALLOW
            pair.cut_on_reply = what is Do.CUT_REPLY
            self._held = self._held or what is Do.HOLD
            self._fired.set()
        if what is Do.CUT_BEFORE:
            pair.cut()
            return False
        while self._held:
            await asyncio.sleep(TICK)
        alive = await self._forward(pair, pair.server, message.payload, self.client)
        if what is Do.CUT_AFTER:
            pair.cut()
            return False
        return alive

    async def _downstream(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while received := await self._read(reader, self.server):
                if pair.cut_on_reply:
                    pair.cut()
                    return
                if not await self._forward(pair, pair.client, received, self.server):
                    return

    async def _read(self, reader: asyncio.StreamReader, flow: Flow) -> bytes:
        while flow.stop:
            await asyncio.sleep(TICK)
        return await reader.read(CHUNK)

    async def _forward(self, pair: _Pair, writer: asyncio.StreamWriter, payload: bytes, flow: Flow) -> bool:
        if flow.used_up:
            pair.cut()
            return False
        if flow.delay or flow.rate:
            await asyncio.sleep(flow.delay + (len(payload) / flow.rate if flow.rate else 0.0))
        while flow.stop:
            await asyncio.sleep(TICK)
        flow.bytes += len(payload)
        flow.messages += 1
        if not (flow.hole or pair.swallowed):
            writer.write(payload)
            await writer.drain()
        return True
