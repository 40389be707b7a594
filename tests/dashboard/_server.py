"""The app under a real server: in a thread of this program, at a port that the system chose."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

import uvicorn
from starlette.requests import Request

from migrator.config import load
from migrator.core.journal import Identity
from migrator.dashboard.app import create_app
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
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = uvicorn.Config(app, log_config=None, lifespan="on", ws="none", timeout_graceful_shutdown=2)
        server = uvicorn.Server(settings)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        end = time.monotonic() + LIMIT
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < end, "the server took too long to start"
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}{root_path}"
        finally:
            server.should_exit = True
            thread.join(LIMIT)
            assert not thread.is_alive(), "the server did not stop"
