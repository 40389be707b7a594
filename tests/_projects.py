"""Projects for the tests that run commands or a server in one."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance._project import Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Give an empty project; what it started is ended after the test, and its folder leaves the import path."""
    before = list(sys.path)
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    yield made
    sys.path[:] = before
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
