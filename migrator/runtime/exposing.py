"""The metrics over HTTP, for as long as `migrator schedule` runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from migrator.core.errors import ConfigError

LIMIT = 20.0
"""Seconds that a scrape may take: each database may take some to say that it does not answer."""


@asynccontextmanager
async def exposed(address: str, text: Callable[[], Awaitable[str]]) -> AsyncIterator[None]:
    """Serve what `text` returns at `http://ADDRESS/metrics`. ConfigError where nothing can listen there."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404)
                return
            try:
                body = asyncio.run_coroutine_threadsafe(_awaited(text), loop).result(LIMIT).encode()
            except Exception as error:  # noqa: BLE001 - a scrape that fails must not end the schedules
                self.send_error(503, type(error).__name__)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing of each scrape."""

    try:
        server = ThreadingHTTPServer((host or "127.0.0.1", int(port)), Page)
    except OSError as error:
        raise ConfigError(f"metrics.listen: nothing can listen at {address}: {error.strerror}") from None
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


async def _awaited(text: Callable[[], Awaitable[str]]) -> str:
    return await text()
