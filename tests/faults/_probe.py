"""An HTTP server for a throttle to ask: dead until it is started, then with the answer that a test wants."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Probe:
    """Its `status` can be changed at any time. It knows HEAD only where `methods` says so. It ends with the block."""

    def __init__(self, methods: tuple[str, ...] = ("GET",)) -> None:
        self.status = 200
        self.asked: list[str] = []
        self._methods = methods
        self._server: ThreadingHTTPServer | None = None
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self._port = found.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self._port}/check?token=s3cret"

    def start(self, status: int) -> None:
        """Begin to answer."""
        self.status = status
        probe = self

        class Answers(BaseHTTPRequestHandler):
            def answer(self) -> None:
                probe.asked.append(self.command)
                self.send_response(probe.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        for method in self._methods:
            setattr(Answers, f"do_{method}", Answers.answer)
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Answers)
        threading.Thread(target=self._server.serve_forever, args=(0.05,)).start()

    def stop(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
