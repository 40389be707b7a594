"""Serve the HTTP API and the dashboard."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from migrator.cli._command import Console, declare
from migrator.cli._tokens import password, token

if TYPE_CHECKING:
    from fastapi import FastAPI

    from migrator.config import Config

PORT = 8420
PATIENCE = 4
"""Seconds that calls get to end when the server stops."""


@declare(example="migrator serve", cls=click.Group, invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
@click.option("--root-path", default="", help="The path under which a proxy shows it, such as /migrator.")
async def command(console: Console, *, host: str, port: int, root_path: str) -> None:
    """Serve the HTTP API and the dashboard until SIGTERM or Ctrl-C. Start as many as you like.

    Other machines are served only when authentication is set up: a token, or `[web]` in migrator.toml.
    """
    _need_web()
    from migrator.dashboard.app import create_app

    config = console.config()
    console.log(config)
    await _refuse_strangers(config, host)
    app = create_app(config, root_path=root_path)
    with _listening(host, port) as listener:
        address, path = _address(listener), root_path.strip("/")
        url = f"http://{address}/{path}/" if path else f"http://{address}/"
        async with app.router.lifespan_context(app):
            console.print(url)
            console.print_json(lambda: {"address": url})
            await _serve(app, listener)


async def _serve(app: "FastAPI", listener: socket.socket) -> None:
    """Serve until this is cancelled; then streams are told to end, and the other calls get some seconds."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leave the signals to the command, which cancels this task."""
            yield

    # Whom to believe what a proxy says is ours to know: see `[web]` trusted_proxies.
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
        ws="none",
    )
    server = Server(settings)
    serving = asyncio.ensure_future(server.serve([listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:  # to be stopped is how it ends
        app.state.asking.stopping.set()
        server.should_exit = True
        await serving


async def _refuse_strangers(config: "Config", host: str) -> None:
    """Raise ConfigError where others could reach us and nobody would have to say who they are."""
    from migrator.core.errors import ConfigError
    from migrator.dashboard._attempts import address_of
    from migrator.runtime.migrator import Migrator

    found = address_of("127.0.0.1" if host == "localhost" else host)
    if (found is not None and found.is_loopback) or config.web.users or config.web.proxies:
        return
    async with Migrator.open(config) as migrator:
        if any(not each.ended(datetime.now(UTC)) for each in await migrator.journal.tokens()):
            return
    raise ConfigError(
        f"no authentication is set up, so {host} is not listened at: others could reach it",
        state="Nothing was changed, and nothing is served.",
        hint="`migrator serve token add NAME --role admin` makes a token, with which everybody has to log in from then "
        "on. Or listen at 127.0.0.1.",
    )


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    from migrator.core.errors import ConfigError

    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(found[4][:2], family=found[0])
        # Inherited by what is accepted: of a socket that was made for it, asyncio would see to that itself.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise ConfigError(
            f"{host} port {port} cannot be listened at: {error.strerror or error}",
            state="Nothing was changed, and nothing is served.",
            hint=f"Take another port (`migrator serve --port {port + 1}`), or end what listens there.",
        ) from error
    with listener:
        yield listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _need_web() -> None:
    from importlib.util import find_spec

    from migrator.core.errors import DependencyMissing

    missing = [name for name in ("fastapi", "uvicorn", "jinja2", "python_multipart") if find_spec(name) is None]
    if missing:
        raise DependencyMissing(
            f"`migrator serve` needs {missing[0]}, which is not installed",
            state="Nothing was changed.",
            hint="Install the extra: pip install 'polymigrator[web]' (in a checkout: '.[web]')",
        )


command.add_command(token, "token")  # type: ignore[attr-defined]
command.add_command(password, "password")  # type: ignore[attr-defined]
