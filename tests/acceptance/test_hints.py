"""The command that an error proposes works in the state that the error describes: each is typed as it is printed."""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.acceptance._project import Project, Result

Act = Callable[[Project], object]


def table(project: Project, name: str, parent: str | None = None, **more: object) -> None:
    """Write a revision that makes a table, or one with other bodies."""
    project.table("main", name, parent) if not more else project.revision("main", name, parent, **more)  # type: ignore[arg-type]


def edit(name: str, old: str, new: str) -> Act:
    """Return what corrects a file."""

    def act(project: Project) -> None:
        path = project.revisions("main") / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return act


def commands(result: Result) -> list[list[str]]:
    """Return the commands that a message proposes, with the first of the choices that it leaves."""
    hint = re.search(r"next: (.*)", result.text)
    assert hint, result
    quoted = re.findall(r"`migrator ([^`]+)`", hint[1]) or re.findall(r"migrator ([^;]+)", hint[1])
    return [shlex.split(re.sub(r"( --[\w-]+)( \| --[\w-]+)+", r"\1", text)) for text in quoted]


@dataclass
class Case:
    """A project, what fails in it, what a person corrects, and the states in which the proposed commands leave it."""

    files: Act
    fails: tuple[str, ...]
    exit_code: int
    correct: Act = field(default=lambda _: None)
    states: str = ""
    before: tuple[tuple[str, ...], ...] = ()


def failing(**more: object) -> Act:
    """Return what writes a1, and b2 that fails."""

    def act(project: Project) -> None:
        table(project, "a1")
        broken = {"upgrade": 'await ctx.execute("SELECT 1/0")', "downgrade": "pass"}
        table(project, "b2", "a1", **{**broken, **more})

    return act


def branches(project: Project) -> None:
    """Write two heads."""
    project.tables("main", "a1", "b2")
    table(project, "c3", "a1")


def no_way_back(project: Project) -> None:
    """Write one revision that has no downgrade yet, as SQL."""
    project.sql("main", "a1", upgrade="CREATE TABLE a1 (id int)")


def three_down(project: Project) -> None:
    """Write three revisions of which the second fails on its way back."""
    table(project, "a1")
    table(project, "b2", "a1", upgrade="pass", downgrade='await ctx.execute("SELECT 1/0")')
    table(project, "c3", "b2", upgrade="pass", downgrade="pass")


FIXED = edit("b2.py", "1/0", "1/1")

CASES = {
    "a step that was rolled back": Case(failing(), ("upgrade",), 1, FIXED, "a1 applied, b2 applied"),
    "the second of two steps": Case(failing(), ("upgrade", "+2"), 1, FIXED, "a1 applied, b2 applied"),
    "one target of several": Case(failing(), ("upgrade", "b2"), 1, FIXED, "a1 applied, b2 applied"),
    "a verify that says no": Case(
        failing(upgrade="pass", verify="return False"),
        ("upgrade",),
        13,
        edit("b2.py", "return False", "return True"),
        "a1 applied, b2 applied",
    ),
    "a time limit": Case(
        failing(upgrade='await ctx.execute("SELECT pg_sleep(5)")', timeout="300ms"),
        ("upgrade",),
        1,
        edit("b2.py", "300ms", "30s"),
        "a1 applied, b2 applied",
    ),
    "a forced run": Case(
        failing(upgrade='await ctx.execute("CREATE TABLE b2 (id int)")'),
        ("upgrade", "--force", "b2"),
        1,
        edit("b2.py", "TABLE b2", "TABLE IF NOT EXISTS b2"),
        "a1 applied, b2 applied",
        before=(("upgrade",),),
    ),
    "without a transaction": Case(
        failing(
            upgrade='await ctx.execute("CREATE TABLE b2 (id int)"); await ctx.value("SELECT 1/0")', transaction=False
        ),
        ("upgrade",),
        1,
        states="a1 applied, b2 pending",
    ),
    "the second of three steps down": Case(
        three_down,
        ("downgrade", "-3"),
        1,
        FIXED,
        "a1 pending, b2 pending, c3 pending",
        before=(("upgrade",),),
    ),
    "no downgrade": Case(
        no_way_back,
        ("downgrade", "base"),
        3,
        edit("a1.sql", "TABLE a1 (id int)", "TABLE a1 (id int);\n-- migrator: downgrade\nDROP TABLE a1"),
        "a1 pending",
        before=(("upgrade",),),
    ),
    "two heads": Case(branches, ("status",), 0, states="a1 applied, b2 applied, c3 applied"),
    "two heads, head asked for": Case(branches, ("upgrade", "head"), 3, states="a1 applied, b2 applied, c3 applied"),
    "an edited file": Case(
        branches,
        ("status",),
        0,
        states="a1 applied, b2 applied, c3 applied",
        before=(("upgrade", "heads"), ("EDIT",)),
    ),
    "a file that is gone": Case(
        lambda project: project.tables("main", "a1", "b2"),
        ("status",),
        0,
        states="a1 applied",
        before=(("upgrade",), ("REMOVE",)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_proposed_works(shop: Project, name: str) -> None:
    """The state is what the hint assumes, so that its commands end with 0 and lead where the person wanted to go."""
    case = CASES[name]
    case.files(shop)
    for words in case.before:
        if words == ("EDIT",):
            edit("a1.py", "(id int)", "(id bigint)")(shop)
        elif words == ("REMOVE",):
            (shop.revisions("main") / "b2.py").unlink()
        else:
            shop.good(*words)
    failed = shop.run(*case.fails)
    assert failed.exit_code == case.exit_code, failed
    case.correct(shop)
    proposed = commands(failed)
    assert proposed, failed
    for command in proposed:
        if command[0] != "new":
            shop.good(*command)
    assert ", ".join(f"{revision} {state}" for revision, state in shop.states().items()) == case.states


def test_a_failure_is_seen_until_something_follows_it(shop: Project) -> None:
    """`status` names a step that failed and left nothing, with its log; `logs` and `runs show` take the revision."""
    failing(downgrade='await ctx.execute("SELECT 2/0")')(shop)
    assert shop.run("upgrade").exit_code == 1
    text = shop.good("status").stdout
    assert re.search(r"failed +b2 +Title of b2 +upgrade failed at 20\d\d-.* by .*@.*division by zero", text), text
    (command,) = [words for words in commands(Result(0, text, "")) if words[0] == "logs"]
    assert "division by zero" in shop.good(*command[:2]).stdout
    assert shop.run("status", "--exit-code").exit_code == 11
    assert "division by zero" in shop.good("logs", "b2").stdout
    assert "division by zero" in shop.good("runs", "show", "main:b2").stdout
    assert "no run" in shop.run("runs", "show", "b3").stderr
    quiet = shop.run("upgrade", "-q")
    assert (quiet.exit_code, quiet.stdout) == (1, "")
    assert "division by zero" in quiet.stderr
    edit("b2.py", "1/0", "1/1")(shop)
    shop.good("upgrade")
    assert shop.states() == {"a1": "applied", "b2": "applied"}
    assert shop.run("downgrade", "-1").exit_code == 1
    assert "downgrade failed at" in shop.good("status").stdout
    table(shop, "c3", "b2")
    shop.good("upgrade")
    assert "failed" not in shop.good("status").stdout


@pytest.mark.parametrize("command", [("verify", "-q"), ("run", "broken", "-q")])
def test_quiet_prints_errors(shop: Project, command: tuple[str, ...]) -> None:
    """What failed is printed although nothing else is."""
    shop.table("main", "a1")
    shop.good("upgrade")
    shop.revision("main", "a1", upgrade="pass", verify="return False")
    shop.revision("main", "broken", upgrade='await ctx.execute("SELECT 1/0")', repeatable=True)
    result = shop.run(*command)
    assert result.exit_code != 0
    assert result.stdout == ""
    assert result.stderr.startswith("error: main:"), result
