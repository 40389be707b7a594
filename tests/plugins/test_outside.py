"""Other distributions: what the README says is enough to add to migrator, and one that is broken harms only its own."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.acceptance._project import Project

DUCK = {
    "adapters": {"duck": "duck.adapter"},
    "formats": {"quack": "duck.quacks"},
    "notifiers": {"duck": "duck.loud"},
    "commands": {"count": "duck.count:command"},
}
GROUPS = tuple(DUCK)
Install: TypeAlias = Callable[..., None]
"""`install(distribution, points, **modules)` with entry points by group and name, and the texts of modules."""


@pytest.fixture
def install(project: Project) -> Install:
    """Give what installs a distribution for the commands of a project."""
    site = project.folder / "site"
    site.mkdir()
    project.env["PYTHONPATH"] = str(site)

    def made(distribution: str, points: Mapping[str, Mapping[str, str]], **modules: str) -> None:
        about = site / f"{distribution.replace('-', '_')}-1.5.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        lines = []
        for group, named in points.items():
            lines += [f"[migrator.{group}]", *(f"{name} = {value}" for name, value in named.items())]
        (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for name, text in modules.items():
            (site / f"{name}.py").write_text(text)

    return made


@pytest.fixture
def pond(project: Project, install: Install) -> Project:
    """Give a project with the distribution of ducks."""
    install("duck-tools", DUCK)
    shutil.copytree(Path(__file__).parent / "duck", project.folder / "site" / "duck")
    return project


@pytest.fixture
def plain(project: Project) -> Project:
    """Give a project that needs no plug-in, with a revision and a heads.lock."""
    project.toml.write_text('[databases.main]\nurl = "memory://local/main"\n')
    (project.folder / "revisions").mkdir()
    project.good("new", "first")
    (file,) = (project.folder / "revisions").glob("*.py")
    file.write_text('revision = "a1"\n\n\nasync def upgrade(ctx):\n    ctx.store["a"] = 1\n', "utf-8")
    assert (project.folder / "revisions" / "heads.lock").exists()
    return project


def test_all_four_kinds(pond: Project) -> None:
    """`init` and `new` know the kind of database; a revision in Python and one in the other format are applied, a
    message arrives, and the command counts them.
    """
    pond.good("init", "duck")
    with pond.toml.open("a") as toml:
        toml.write('\n[notify.loud]\nkind = "duck"\nurl = "told.txt"\non = ["success"]\n')
    pond.good("new", "Ducks")
    (file,) = (pond.folder / "revisions").glob("*.py")
    text = file.read_text("utf-8")
    assert "from duck.adapter import Context" in text
    name = text.split('revision = "', 1)[1].split('"', 1)[0]
    upgrade = text.split("\n\n\nasync def upgrade")[0]
    file.write_text(f"{upgrade}\n\nasync def upgrade(ctx: Context) -> None:\n    ctx.store['d'] = True\n", "utf-8")
    (pond.folder / "revisions" / "more.quack").write_text(f"revision: q2\ndown_revision: {name}\nanas\n", "utf-8")
    applied = pond.good("upgrade", "--json").json()
    assert [run["revision"] for run in applied["runs"]] == [name, "q2"]
    assert "2 revisions" in (pond.folder / "told.txt").read_text()
    assert pond.good("count", "--json").json() == {"ducks": 2}
    told = pond.good("doctor", "--json").json()
    assert [(each["level"], each["subject"]) for each in told["plugins"]] == [
        ("ok", "adapter duck"),
        ("ok", "format quack"),
        ("ok", "notifier duck"),
        ("ok", "command count"),
    ]
    assert "duck-tools 1.5" in told["plugins"][0]["text"]


def test_the_suite(pond: Project) -> None:
    """The conformance suite runs in the tests of the other distribution, and its adapter passes."""
    shutil.copy(Path(__file__).parent / "duck" / "conformance.py", pond.folder / "test_duck.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "test_duck.py"]
    command += ["-o", "asyncio_default_fixture_loop_scope=function"]
    done = subprocess.run(
        command, cwd=pond.folder, env=pond.environ(), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 80


def test_a_broken_one_harms_nobody(plain: Project, install: Install) -> None:
    """However it breaks, it is not even imported by commands that do not need it; `doctor` names it."""
    texts = {
        "raises": "import nothing_of_this_name",
        "leaves": "raise SystemExit(0)",
        "slow": "import pathlib\npathlib.Path('imported').touch()",
    }
    for word, text in texts.items():
        points = {group: {f"{word}-{group}": f"{word}_module"} for group in GROUPS}
        install(f"bad-{word}", points, **{f"{word}_module": text})
    assert len(plain.good("upgrade", "--json").json()["runs"]) == 1
    assert plain.good("status", "--json").json()
    plain.good("history")
    assert not (plain.folder / "imported").exists()
    told = plain.good("doctor", "--json").json()["plugins"]
    levels = {each["subject"]: (each["level"], each["text"], each["hint"]) for each in told}
    assert len(levels) == 12
    level, text, hint = levels["format leaves-formats"]
    assert (level, hint) == ("warn", "Repair or uninstall bad-leaves.")
    assert "bad-leaves 1.5 cannot be imported: SystemExit: 0" in text
    assert "ModuleNotFoundError" in levels["adapter raises-adapters"][1]
    assert levels["command slow-commands"][0] == "ok"


@pytest.mark.parametrize("how", ["import nothing_of_this_name", "raise SystemExit(0)", "1 / 0"])
@pytest.mark.parametrize("group", GROUPS)
def test_a_broken_one_that_is_needed(plain: Project, install: Install, group: str, how: str) -> None:
    """What needs it fails with the name of the plug-in and of its distribution, and changes nothing."""
    install("bad-one", {group: {"duck": "bad_module"}}, bad_module=how)
    done = plain.run(*asking(plain, group))
    assert done.exit_code == (3 if group == "commands" else 2), done
    assert "duck (bad_module) of the distribution bad-one 1.5 cannot be imported" in done.stderr
    assert "uninstall bad-one" in done.stderr


@pytest.mark.parametrize("group", GROUPS)
def test_two_of_one_name(plain: Project, install: Install, group: str) -> None:
    """Two distributions that bring the same are refused by name; none of them wins silently."""
    for name in ("one", "two"):
        install(name, {group: {"duck": f"{name}_module"}}, **{f"{name}_module": ""})
    done = plain.run(*asking(plain, group))
    assert done.exit_code == 3
    for part in ("2 distributions bring the same", "distribution one 1.5", "distribution two 1.5"):
        assert part in done.stderr
    told = plain.good("doctor", "--json", "--config", "plain.toml").json()["plugins"]
    assert ["another" in each["text"] for each in told] == [True, True]


def test_ours_come_first(plain: Project, install: Install) -> None:
    """One with the name of our own is not used, which `doctor` says."""
    install("thief", {"commands": {"history": "thief"}, "adapters": {"memory": "thief"}}, thief="raise SystemExit(9)")
    plain.good("history")
    told = plain.good("doctor", "--json").json()["plugins"]
    assert all("is not used: there is another" in each["text"] for each in told)


@pytest.mark.parametrize("group", GROUPS)
def test_another_version_of_the_interface(plain: Project, install: Install, group: str) -> None:
    """A plug-in for another version of the interface is refused with both numbers."""
    install("old", {group: {"duck": "old_module"}}, old_module="INTERFACE = 99")
    done = plain.run(*asking(plain, group))
    assert done.exit_code == 3
    assert "is for version 99 of the plug-in interface, and this is 1" in done.stderr


def asking(project: Project, group: str) -> list[str]:
    """Let the project need a plug-in `duck` of a group, and return the command that does.

    plain.toml keeps what was before.
    """
    (project.folder / "plain.toml").write_text(project.toml.read_text("utf-8"), "utf-8")
    if group == "commands":
        return ["duck"]
    if group == "adapters":
        project.toml.write_text('[databases.main]\nurl = "duck://pond/main"\n', "utf-8")
    if group == "notifiers":
        with project.toml.open("a") as toml:
            toml.write('\n[notify.loud]\nkind = "duck"\nurl = "told.txt"\n')
    if group == "formats":
        elsewhere = project.folder / "other"
        elsewhere.mkdir()
        (elsewhere / "a.duck").write_text("quack")
        project.toml.write_text('[databases.main]\nurl = "memory://local/main"\nrevisions = "other"\n', "utf-8")
    return ["upgrade"]
