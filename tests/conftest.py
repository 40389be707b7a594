"""What all tests share: the servers, and which of them the parametrized tests run on."""

import os

import pytest

pytest_plugins = ["tests._servers"]

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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run whatever asks for `place` on every chosen server; a test narrows them by `@pytest.mark.only("postgres")`."""
    if "place" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("backend")
    if not chosen or "all" in chosen:
        chosen = [*KINDS, *(DOCKER if os.environ.get("MIGRATOR_TEST_DOCKER") == "1" else ())]
    marks = [mark for mark in metafunc.definition.iter_markers("only")]
    wanted = [name for name in chosen if all(any(part in name for part in mark.args) for mark in marks)]
    metafunc.parametrize("place", wanted, indirect=True)


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "only(*kinds): run on servers whose name contains one of these")
