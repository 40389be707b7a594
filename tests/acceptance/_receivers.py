"""Those who are sent messages, on loopback: good, slow, failing, dead and half-open ones."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Post:
    """What one request brought."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the document."""
        return json.loads(self.body)


@dataclass
class Receiver:
    """A server of HTTP, and all that it was sent. `answered` counts the answers that it gave in full."""

    url: str = ""
    posts: list[Post] = field(default_factory=list)
    answered: int = 0

    @property
    def text(self) -> str:
        """Return everything that was received, as one text."""
        return "\n".join(f"{post.path}\n{dict(post.headers)}\n{post.body.decode()}" for post in self.posts)

    def kinds(self) -> list[str]:
        """Return what the messages were about, in the order of their arrival."""
        return [post.json()["kind"] for post in self.posts]


def answer(status: int = 200) -> Answer:
    """Return what answers with a status at once."""

    def send(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return send


def answer_in_turn(*statuses: int) -> Answer:
    """Return what answers with one status after another."""
    left = iter(statuses)

    def send(request: BaseHTTPRequestHandler) -> None:
        answer(next(left))(request)

    return send


def hold(until: threading.Event) -> Answer:
    """Return what answers only when it is told to."""

    def send(request: BaseHTTPRequestHandler) -> None:
        until.wait(60)
        answer()(request)

    return send


def trickle(until: threading.Event) -> Answer:
    """Return what answers a byte at a time, and never to the end, until it is told to stop."""

    def send(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not until.wait(0.05):
            request.wfile.write(b"x")
            request.wfile.flush()
        raise ConnectionError

    return send


@contextmanager
def receiving(how: Answer | None = None) -> Iterator[Receiver]:
    """Run a receiver on loopback."""
    receiver = Receiver()
    respond = how or answer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.posts.append(Post(self.path, dict(self.headers), body))
            with suppress(ConnectionError):
                respond(self)
                receiver.answered += 1

        do_PUT = do_POST  # noqa: N815 - http.server's name

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        with _serving(server):
            yield receiver


@contextmanager
def half_open() -> Iterator[str]:
    """Give the address of one that takes connections and then neither reads nor answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def dead() -> str:
    """Return an address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@dataclass
class Mailbox:
    """A mail server, and the mails that it took: over TLS or not, from whom it was told to be."""

    address: str = ""
    mails: list[EmailMessage] = field(default_factory=list)
    secured: list[bool] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)


@contextmanager
def mail_server(tls: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    """Run a mail server on loopback; with `tls` it offers STARTTLS and asks for a password."""
    with _MailServer(("127.0.0.1", 0), _MailHandler) as server:
        server.tls = tls
        server.box = Mailbox(f"127.0.0.1:{server.server_address[1]}")
        with _serving(server):
            yield server.box


class _MailServer(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    tls: ssl.SSLContext | None
    box: Mailbox


class _MailHandler(StreamRequestHandler):
    server: _MailServer
    secure = False

    def handle(self) -> None:
        with suppress(ssl.SSLError):  # whoever does not trust us hangs up
            self._talk()
        self.request.close()

    def _talk(self) -> None:
        self._say("220 loopback")
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            obey = {"EHLO": self._hello, "STARTTLS": self._secure, "AUTH": self._login, "DATA": self._take}.get(verb)
            if obey:
                obey(line)
            else:
                self._say("250 fine")
            if verb == "QUIT":
                break

    def _hello(self, _: str) -> None:
        extras = {(True, True): "250 AUTH PLAIN", (True, False): "250 STARTTLS"}
        self._say("250-loopback")
        self._say(extras.get((self.server.tls is not None, self.secure), "250 HELP"))

    def _secure(self, _: str) -> None:
        assert self.server.tls is not None
        self._say("220 go on")
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.setup()
        self.secure = True

    def _login(self, line: str) -> None:
        self.server.box.logins.append(line)
        self._say("235 welcome")

    def _take(self, _: str) -> None:
        self._say("354 go on")
        lines = iter(self.rfile.readline, b".\r\n")
        self.server.box.mails.append(message_from_bytes(b"".join(lines), policy=policy.default))
        self.server.box.secured.append(self.secure)
        self._say("250 taken")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@contextmanager
def _serving(server: ThreadingTCPServer | ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
