"""Python revisions: reading runs nothing, loading runs the text, templates are ready to edit."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from migrator.core.errors import DependencyMissing, RevisionFileError
from migrator.formats import python
from migrator.formats._scan import scan

HEAD = 'revision = "aa01"\ndown_revision = None\n'
UPGRADE = "async def upgrade(ctx):\n    ctx.append('up')\n"


@pytest.mark.parametrize("extra", ["", "x = 1\n"], ids=["fast", "ast"])
def test_read_runs_no_code(tmp_path: Path, extra: str) -> None:
    """Reading a file neither executes it nor imports what it imports."""
    mark = tmp_path / "ran"
    text = f"import no_such_module\n{HEAD}{extra}X = open({str(mark)!r}, 'w')\nY = 1 / 0\n{UPGRADE}"
    assert python.read(text, "x.py").revision == "aa01"
    assert not mark.exists()


async def test_load_without_the_file() -> None:
    """The text is enough: the functions run and tracebacks show their lines although there is no file."""
    script = python.load(HEAD + UPGRADE + "    raise LookupError\n", "gone/x.py")
    seen: list[str] = []
    with pytest.raises(LookupError) as caught:
        await script.upgrade(seen)
    assert seen == ["up"]
    assert script.downgrade is None
    assert script.verify is None
    assert str(caught.traceback[-1].statement).strip() == "raise LookupError"


async def test_load_script_class() -> None:
    """The one subclass of Script is made, and its methods are the functions."""
    text = HEAD + (
        "from migrator import Script\n"
        "class Add(Script):\n    def __init__(self):\n        self.word = 'own'\n"
        "    async def upgrade(self, ctx):\n        ctx.append(self.word)\n"
    )
    seen: list[str] = []
    script = python.load(text, "x.py")
    await script.upgrade(seen)
    assert seen == ["own"]
    assert script.verify is None


def test_foreign_script_base_is_refused() -> None:
    """A class that only looks like ours would have no defaults for what it lacks."""
    text = HEAD + "class Script: ...\nclass Add(Script):\n    async def upgrade(self, ctx): ...\n"
    with pytest.raises(RevisionFileError, match=r"no migrator\.Script"):
        python.load(text, "x.py")


def test_class_that_cannot_be_made() -> None:
    """What the class raises is shown with its line, and kept as the cause."""
    text = HEAD + (
        "from migrator import Script\nclass Add(Script):\n    def __init__(self):\n"
        "        raise LookupError('no')\n    async def upgrade(self, ctx): ...\n"
    )
    with pytest.raises(RevisionFileError, match=r"x\.py:6: Add\(\) cannot be made: LookupError: no") as caught:
        python.load(text, "x.py")
    assert isinstance(caught.value.__cause__, LookupError)


async def test_module_can_be_found(tmp_path: Path) -> None:
    """Dataclasses and pickle find the module by its name; `__file__` is there because the file is."""
    path = tmp_path / "x.py"
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        + HEAD
        + ("@dataclass\nclass Row:\n    n: int\nasync def upgrade(ctx):\n    return Row(1), __file__\n")
    )
    path.write_text(text)
    row, file = await python.load(text, str(path)).upgrade(None)
    assert pickle.loads(pickle.dumps(row)) == row
    assert file == str(path)


def test_failed_module_is_forgotten() -> None:
    """A module whose import failed does not stay in sys.modules, and its error is the cause."""
    before = set(sys.modules)
    with pytest.raises(RevisionFileError) as caught:
        python.load(HEAD + "X = 1 / 0\n" + UPGRADE, "x.py")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.line == 3
    assert not any(name.startswith("migrator.formats._loaded.") for name in set(sys.modules) - before)


@pytest.mark.parametrize("error", [DependencyMissing("no driver"), KeyboardInterrupt()])
def test_some_errors_pass(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra keeps its own exit code, and Ctrl-C is no fault of the file."""
    monkeypatch.setattr(sys, "error_for_test", error, raising=False)
    with pytest.raises(type(error)):
        python.load(HEAD + "import sys\nraise sys.error_for_test\n" + UPGRADE, "x.py")


def test_upgrade_deleted_by_the_file() -> None:
    """A file that takes its own function away is refused."""
    with pytest.raises(RevisionFileError, match=r"no migrator\.Script"):
        python.load(HEAD + UPGRADE + "globals().pop('upgrade')\n", "x.py")


ADAPTERS: dict[str, dict[str, Any]] = {
    "postgres": {"adapter": "migrator.adapters.postgres"},
    "mongo": {"adapter": "migrator.adapters.mongo", "commits_alone": True},
}


@pytest.mark.parametrize("kind", ["postgres", "mongo"])
@pytest.mark.parametrize("down", [(), ("aa",), ("aa", "bb"), tuple(f"{n:012d}" for n in range(9))])
@pytest.mark.parametrize("title", ["add  orders", 'say "yes"', 'a """quote""" \\d', "Really?", ""])
def test_template_reads_back(kind: str, down: tuple[str, ...], title: str) -> None:
    """A new file says what it was asked to say."""
    text = python.template(revision="aa01", title=title, down_revision=down, labels=("billing",), **ADAPTERS[kind])
    header = python.read(text, "x.py")
    assert (header.revision, header.down_revision, header.branch_labels) == ("aa01", down, ("billing",))
    assert header.functions == {"upgrade", "downgrade", "verify"}
    assert header.transaction is (False if kind == "mongo" else None)
    assert header.title.removesuffix(".") == (" ".join(title.split()) or "Revision aa01")


@pytest.mark.parametrize("kind", ["postgres", "mongo"])
@pytest.mark.parametrize(
    "down", [(), ("aa",), tuple(f"{n:012d}" for n in range(3)), tuple(f"{n:012d}" for n in range(9))]
)
def test_template_is_formatted(kind: str, down: tuple[str, ...]) -> None:
    """`ruff format` with its own defaults leaves a new file as it is, and reading it takes the fast way."""
    text = python.template(revision="3f2a91c7d0e1", title="Add orders", down_revision=down, **ADAPTERS[kind])
    ruff = Path(sys.executable).with_name("ruff")
    command = [str(ruff), "format", "--isolated", "--stdin-filename", "x.py", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert done.stdout == text
    assert (scan(text, "x.py") is not None) or len(down) > 3


@pytest.mark.parametrize("name", ["upgrade", "downgrade", "verify"])
async def test_template_fails_unedited(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody applies an unwritten revision by mistake."""
    from types import ModuleType

    adapter: Any = ModuleType("migrator.adapters.test_kind")
    adapter.Context = object
    monkeypatch.setitem(sys.modules, "migrator.adapters.test_kind", adapter)
    text = python.template(revision="aa01", title="t", down_revision=(), adapter="migrator.adapters.test_kind")
    with pytest.raises(NotImplementedError, match=f"write the {name} of aa01"):
        await getattr(python.load(text, "x.py"), name)(None)


def test_import_is_cheap() -> None:
    """An ordinary file is read without the slow way and without what only errors need."""
    code = (
        "import sys; from migrator.formats import python, sql;"
        "python.read('revision = \"a\"\\nasync def upgrade(c): ...\\n', 'x.py');"
        "sys.exit(' '.join({'difflib', 'traceback', 'migrator.formats._tree'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
