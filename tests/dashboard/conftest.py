"""A project for each test, and a server that serves it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import pytest

from tests.acceptance._project import Project
from tests.dashboard._server import running

Served: TypeAlias = Callable[..., str]
"""`served(project, toml="", *, root_path="", identify=None, environ=None)` gives the address of a server."""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Give an empty project; what it started is ended after the test."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    yield made
    made.close()


@pytest.fixture
def shop(project: Project, postgres_url: str) -> Project:
    """Give a project with one PostgreSQL database, `main`, and no revision yet."""
    project.configure(main=postgres_url)
    return project


@pytest.fixture
def both(project: Project, postgres_url: str, mongo_url: str) -> Project:
    """Give a project with `main` on PostgreSQL and `events` on MongoDB."""
    project.configure(main=postgres_url, events=mongo_url)
    return project


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
