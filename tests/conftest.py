"""What all tests share: the servers, projects, and which of them the parametrized tests run on."""

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
