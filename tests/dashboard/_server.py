"""The app under a real server: in a thread of this program, at a port that the system chose."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import Any

import uvicorn
from starlette.requests import Request

from migrator.config import load
from migrator.core.journal import Identity, Role
from migrator.dashboard.app import create_app
from migrator.runtime.migrator import Migrator
from tests.acceptance._project import LIMIT, Project


@contextmanager
def running(
    project: Project,
    toml: str = "",
    *,
    root_path: str = "",
    identify: Callable[[Request], Identity | None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Serve a project, with `toml` behind its migrator.toml, and give the address, without a slash at its end.

    The project's own file stays as it is, so that a command in it is not a part of this server.
    """
    file = project.folder / "served.toml"
    file.write_text(f"{project.toml.read_text('utf-8')}\n{toml}\n", "utf-8")
    app = create_app(load(str(file), environ or {}), root_path=root_path, identify=identify)
    with listening(app) as url:
        yield f"{url}{root_path}"


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Run an ASGI app under a server, and give its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = uvicorn.Config(
            app, log_config=None, lifespan="on", proxy_headers=False, ws="none", timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(settings)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        end = time.monotonic() + LIMIT
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < end, "the server took too long to start"
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(LIMIT)
            assert not thread.is_alive(), "the server did not stop"


def make_token(project: Project, name: str, role: Role = Role.ADMIN, *databases: str, days: float = 0) -> str:
    """Make a token, as `migrator serve token add` does, and return its text."""

    async def made() -> str:
        async with Migrator.open(load(str(project.toml), {})) as migrator:
            return (await migrator.journal.make_token(name, role, databases, days=days, by="ann"))[1]

    return asyncio.run(made())


def bearer(text: str) -> dict[str, str]:
    """Return the header that sends a token."""
    return {"authorization": f"Bearer {text}"}
