"""The wheel: built and installed without a network, and working where the checkout is not."""

import shutil
import site
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance._project import Project, Result

ROOT = Path(__file__).parents[2]


def call(*command: str | Path, cwd: Path) -> None:
    """Run a program, which must end with 0."""
    done = subprocess.run(
        [str(word) for word in command], check=False, cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel in a copy of the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    copy.mkdir()
    shutil.copytree(ROOT / "migrator", copy / "migrator", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist", cwd=copy)
    (built,) = (folder / "dist").iterdir()
    return built


class Installed(Project):
    """A project whose command is the one of another environment."""

    program: Path

    def command(self, *args: str) -> list[str]:
        """Return the installed command."""
        return [str(self.program), *args]

    def environ(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return an environment that does not lead back to the checkout."""
        return {name: value for name, value in super().environ(env).items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment with the wheel; the dependencies are borrowed from ours, the checkout is not."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True, symlinks=True)
    place = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    # A folder of links instead of a .pth to our site-packages: an editable install there would bring the checkout back.
    for theirs in site.getsitepackages():
        for entry in Path(theirs).iterdir():
            if "migrator" not in entry.name and not (place / entry.name).exists():
                (place / entry.name).symlink_to(entry)
    call(
        _python(folder),
        "-m",
        "pip",
        "install",
        "--no-index",
        "--no-deps",
        wheel,
        cwd=folder,
    )
    return folder


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


@pytest.fixture
def installed(environment: Path, tmp_path: Path, postgres_url: str) -> Installed:
    """Give a project that uses the installed wheel."""
    project = Installed(tmp_path)
    project.program = environment / "bin" / "migrator"
    project.configure(main=postgres_url)
    return project


def test_what_is_in_the_wheel(wheel: Path) -> None:
    """It holds the statements, the mark of types and every module, and no tests; its name is polymigrator."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert wheel.name.startswith("polymigrator-")
    assert {"migrator/py.typed", "migrator/adapters/postgres/queries.sql"} <= names
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "migrator").rglob("*.py")}
    assert ours <= names
    pages = [path for each in ("static", "templates") for path in (ROOT / "migrator/dashboard" / each).iterdir()]
    assert {str(path.relative_to(ROOT)) for path in pages} <= names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"migrator"}


def test_the_installed_command_works(installed: Installed) -> None:
    """The command of the wheel says its version, applies a revision, and is not the one of the checkout."""
    version: Result = installed.good("--version")
    assert version.stdout.startswith("migrator ")
    installed.table("main", "a1")
    assert "1 applied" in installed.good("upgrade").stdout
    assert installed.states() == {"a1": "applied"}
    installed.revision("main", "a2", "a1", upgrade="import migrator\nraise RuntimeError(migrator.__file__)")
    said = installed.run("upgrade").stderr
    assert "site-packages/migrator/__init__.py" in said
    assert str(ROOT) not in said
