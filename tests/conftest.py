"""What all tests share: the servers, projects, and which of them the parametrized tests run on."""

from collections.abc import Generator
from typing import Any

import pytest

pytest_plugins = ["tests._servers", "tests._projects"]

KINDS = ["memory", "postgres18", "postgres15", "mongo"]
DOCKER = ["docker-postgres", "docker-mongo"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of servers."""
    parser.addoption(
        "--backend",
        action="append",
        default=[],
        choices=[*KINDS, *DOCKER, "all"],
        help="run the parametrized tests on this one only (repeatable); one that is asked for must be there. "
        "The docker ones need MIGRATOR_TEST_DOCKER=1.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "only(*kinds): run on servers whose name contains one of these")


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escape what UTF-8 cannot hold: a worker process that captured a lone surrogate could not send its report."""
    return _escape_surrogates((yield))


def _escape_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _escape_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_escape_surrogates(item) for item in value)
    return value
