"""The README promises nothing that is not there, and what it shows works."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec

from migrator.cli import group
from migrator.config import Database, DatabaseTable, FileTables, LogTable, load
from migrator.core import errors

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    """Return the one fenced block of a language that contains a text."""
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in text]
    assert len(found) == 1, f"{len(found)} blocks of {language} contain {containing!r}"
    return str(found[0])


def run(*words: str, folder: Path, expected: int = 0) -> str:
    """Run a command of the README and return what it printed."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout


def migrator(line: str, folder: Path) -> str:
    """Run a line that begins with `migrator`."""
    import shlex

    words = shlex.split(line)
    assert words[0] == "migrator"
    return run(sys.executable, "-m", *words, folder=folder)


def test_every_command_is_there() -> None:
    """The table of commands names every command, and no other."""
    table = README.split("## The commands")[1].split("Targets:")[0]
    shown = set(re.findall(r"`migrator (\w+)", table))
    assert shown == set(group.list_commands(None))  # type: ignore[arg-type] # it needs no context


def test_every_configuration_key_is_there() -> None:
    """The example of migrator.toml holds every key, and no other, and can be loaded."""
    raw = tomllib.loads(block("toml", "lock_timeout"))
    assert set(raw) == {field.name for field in msgspec.structs.fields(FileTables)}
    assert set(raw["log"]) == {field.name for field in msgspec.structs.fields(LogTable)}
    assert set(raw["databases"]["main"]) == {field.name for field in msgspec.structs.fields(DatabaseTable)}


def test_the_configuration_is_understood(tmp_path: Path) -> None:
    """What the README shows as migrator.toml loads."""
    file = tmp_path / "migrator.toml"
    file.write_text(block("toml", "lock_timeout"))
    config = load(str(file), {"DIRECT_URL": ""})
    assert isinstance(config.database("main"), Database)
    assert list(config.databases) == ["main", "events"]


def test_every_exit_code_is_there() -> None:
    """The sentence on exit codes names each code that an error or a command has."""
    sentence = README.split("Exit codes:")[1].split("\n\n")[0]
    shown = {int(number) for number in re.findall(r"\b(\d+) [a-z]", sentence)}
    tree: list[type[errors.MigratorError]] = [errors.MigratorError]
    for kind in tree:
        tree.extend(kind.__subclasses__())
    assert shown == {kind.exit_code for kind in tree} | {0, 10, 11}


def test_make_and_ci_run_what_the_readme_says() -> None:
    """The two commands are targets of the Makefile, and CI calls them."""
    makefile, script = (ROOT / "Makefile").read_text(), (ROOT / ".ci" / "run").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in README
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
        assert f"make {target}" in script
    assert ".venv/bin/migrator upgrade head" in README
    assert "migrator upgrade head" in makefile


def test_a_first_revision(tmp_path: Path) -> None:
    """The five minutes: init, a revision in SQL, one in Python, up, status, down, on the embedded PostgreSQL."""
    first, second = block("sql", "CREATE TABLE customers"), block("python", "customers.phone")
    for line in block("console", "migrator init").splitlines()[1:]:
        migrator(line.removeprefix("$ "), tmp_path)
    (written,) = (tmp_path / "revisions").glob("*.sql")
    written.write_text(first)
    (tmp_path / "revisions" / "2026_11_21_9b1de04c77aa_phone.py").write_text(second)
    lines = block("console", "migrator status\n$ migrator downgrade -1").splitlines()
    printed = [migrator(line.removeprefix("$ "), tmp_path) for line in lines]
    assert "2 applied" in printed[0]
    assert "2 of 2 applied" in printed[1]
    assert "1 taken down" in printed[2]


def test_links_lead_somewhere() -> None:
    """Every relative link is a file or a folder of the repository."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []


def test_nobody_is_told_to_install_somebody_else() -> None:
    """The name on the index belongs to somebody else: no text says to install it."""
    texts = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("migrator/**/*.py"),
        ROOT / "docker" / "Dockerfile",
    ]
    bad = re.compile(r"pip install ['\"]?migrator(?![\w-])")
    assert [str(path) for path in texts if bad.search(path.read_text())] == []
