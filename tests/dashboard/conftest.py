"""A server that serves a project."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import httpx2
import pytest

from tests.acceptance._project import Project
from tests.dashboard._server import running

Served: TypeAlias = Callable[..., str]
"""`served(project, toml="", *, root_path="", identify=None, environ=None)` gives the address of a server."""


@pytest.fixture
def served() -> Iterator[Served]:
    """Give a function that serves a project until the end of the test: see `tests.dashboard._server.running`."""
    with ExitStack() as stack:

        def serve(project: Project, toml: str = "", **options: Any) -> str:
            return stack.enter_context(running(project, toml, **options))

        yield serve


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    """Give a client that follows no redirect."""
    with httpx2.Client(timeout=30) as opened:
        yield opened
