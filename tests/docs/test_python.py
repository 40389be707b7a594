"""docs/python.md names what there is, and what it shows works."""

import inspect
import re
from pathlib import Path

import migrator
from migrator.runtime.migrator import Migrator

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")


def test_the_public_names() -> None:
    """The table has every public name, and no other."""
    table = PAGE.split("## The public names")[1].split("Beside these")[0]
    shown = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")
    }
    assert shown == set(migrator.__all__) - {"__version__"}


def test_the_commands() -> None:
    """The table has every command, and no other."""
    table = PAGE.split("## The commands")[1].split("All take")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    shown = {name for row in rows for name in re.findall(r"`(\w+)\(", row)}
    commands = {
        name for name, each in inspect.getmembers(Migrator, inspect.iscoroutinefunction) if not name.startswith("_")
    }
    assert shown == commands - {"measure"}


def test_the_blocks_are_python() -> None:
    """Each example compiles, where it awaits inside of a function."""
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        compile(block, "docs/python.md", "exec", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
