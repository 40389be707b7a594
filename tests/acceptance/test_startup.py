"""What a command imports: startup is a feature, and it is lost one import at a time."""

import subprocess
import sys

import pytest

from tests.acceptance._project import Project

EXPENSIVE = {
    "alembic",
    "asyncio",
    "asyncpg",
    "bson",
    "fastapi",
    "importlib.metadata",
    "jinja2",
    "logging",
    "migrator.core.journal",
    "msgspec",
    "psutil",
    "pymongo",
    "rich",
    "sqlalchemy",
    "ssl",
    "stamina",
    "starlette",
    "tomllib",
    "uvicorn",
}
"""What no command may import before it needs it."""

ALLOWED = {
    "--help": set[str](),
    "-h": set[str](),
    "--version": set[str](),
    "upgrade --help": set[str](),
    "upgrad": {"importlib.metadata"},  # it may be a command of another distribution
    "history": {"asyncio", "msgspec", "tomllib", "logging", "ssl"},
    "status -d main": {"asyncio", "msgspec", "tomllib", "logging", "ssl", "asyncpg", "stamina", "importlib.metadata"},
    "status -d events": {
        *{"asyncio", "msgspec", "tomllib", "logging", "ssl"},
        *{"pymongo", "bson", "importlib.metadata"},
    },
}
"""What of it each command needs; `ssl` and `logging` come with asyncio, `importlib.metadata` with stamina."""


def imported(project: Project, *args: str) -> set[str]:
    """Run the interpreter and return the modules that it imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *args],
        check=False,
        cwd=project.folder,
        env=project.environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize("words", ALLOWED)
def test_imports(both: Project, words: str) -> None:
    """A command imports nothing expensive that it does not need."""
    both.table("main", "a1")
    both.collection("events", "e1")
    found = imported(both, "-m", "migrator", *words.split()) - imported(both, "-c", "pass")
    assert "click" in found
    assert found & EXPENSIVE <= ALLOWED[words], words
    if words.startswith("status"):
        assert ("asyncpg" if "main" in words else "pymongo") in found


def test_help_imports_click_and_little_else(project: Project) -> None:
    """`--help` imports no module of migrator but the command line's own."""
    found = imported(project, "-m", "migrator", "--help")
    ours = {name for name in found if name.partition(".")[0] == "migrator"}
    assert ours == {"migrator", "migrator.cli", "migrator._output", "migrator._signals"}
    others = {name for name in found - ours if name.partition(".")[0] != "click"}
    assert others <= imported(
        project, "-c", "import click, gettext, importlib.util, locale, runpy, select, shutil, signal, textwrap"
    )
