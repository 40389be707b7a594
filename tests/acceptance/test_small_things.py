"""What is printed and kept is what it seems: control characters, times, amounts, parameters."""

import math
from typing import Any

import pytest

from migrator.config import load
from migrator.core.errors import RunFailed, UsageError
from migrator.core.secrets import Mask
from migrator.core.utf8 import visible
from migrator.core.wording import counted
from migrator.runtime.migrator import Migrator
from tests.acceptance._project import Project

CLEAR = "\x1b[2J\x1b]0;title\x07\rok\x9b1A\u202e"
"""What clears a screen, names a window, writes over a line, and turns the direction of a text."""


@pytest.mark.parametrize("kind", ["main", "events"])
def test_controls_in_a_log_do_not_reach_the_terminal(both: Project, kind: str) -> None:
    """Control characters that a script logs or raises are shown escaped, in every place where they are shown."""
    both.revision(kind, "a1", upgrade=f"ctx.log.warning({CLEAR!r})\nraise ValueError({CLEAR!r})")
    failed = both.run("upgrade", f"{kind}:head", "-v")
    shown = [both.good(*words) for words in (("logs", "a1"), ("runs", "show", "a1"), ("status",))]
    for result in (failed, *shown):
        for letter in set(CLEAR) - set("[2J]0;title1Aok"):
            assert letter not in result.text, result
    assert r"\x1b[2J\x1b]0;title\x07\rok\x9b1A\u202e" in failed.text
    assert r"\x1b[2J" in shown[0].stdout


def test_colours_and_lines_stay() -> None:
    """A colour, a tab and a line feed stay as they are."""
    text = "\x1b[31mred\x1b[0m\tx\nß 🎉"
    assert Mask(())(text) == visible(text) == text


@pytest.mark.parametrize("kind", ["main", "events"])
async def test_times_of_the_runs(both: Project, kind: str) -> None:
    """The runs that a command returns have the times that the tracker has, those of a failed command too."""
    if kind == "main":
        both.table("main", "a1")
    else:
        both.collection("events", "a1")
    both.revision(kind, "b1", "a1", upgrade="raise ValueError('no')")
    both.revision(kind, "s1", upgrade="pass", repeatable=True)
    async with Migrator.open(load(str(both.toml), {})) as migrator:
        (done,) = (await migrator.upgrade(f"{kind}:a1")).runs
        (result,) = (await migrator.run("s1", force=True)).results
        with pytest.raises(RunFailed) as caught:
            await migrator.upgrade(f"{kind}:head")
        (back,) = (await migrator.downgrade(f"{kind}:base")).runs
        assert result.run is not None
        for run in (done, result.run, caught.value.failed, back):
            (kept,) = (await migrator.past.run(run.run_id)).runs
            assert (run.started_at, run.finished_at) == (kept.started_at, kept.finished_at)
            assert run.started_at.startswith("20") <= bool(run.finished_at)


ODD: dict[str, Any] = {
    "nan": math.nan,
    "infinity": math.inf,
    "in a list": [1.0, -math.inf],
    "in a document": {"a": {"b": math.nan}},
    "in a key": {"\ud800": 1},
    "nul": "a\0b",
    "surrogate": "\udcff",
    "large": 2**63,
}


@pytest.mark.parametrize("kind", ["main", "events"])
async def test_parameters_that_no_tracker_keeps(both: Project, kind: str) -> None:
    """A parameter that is not JSON is refused before anything starts, with its name, on either kind of database."""
    file = both.revision(kind, "s1", upgrade="pass", repeatable=True)
    lines = "import msgspec\nfrom typing import Any\nclass Params(msgspec.Struct):\n    x: Any\n"
    file.write_text(file.read_text("utf-8") + lines, "utf-8")
    async with Migrator.open(load(str(both.toml), {})) as migrator:
        for name, value in ODD.items():
            with pytest.raises(UsageError, match="parameter x") as caught:
                await migrator.run("s1", params={"x": value})
            assert caught.value.exit_code == 3, name
        assert (await migrator.past.runs(databases=(kind,))).runs == ()
        (good,) = (await migrator.run("s1", params={"x": [1.5, None, {"a": 2**63 - 1}]})).results
        assert good.word == "ok"
    assert both.run("run", "s1", "--param", "x=NaN").exit_code == 3


def test_amounts() -> None:
    """One thing is named in the singular."""
    assert [counted(number, "run") for number in (0, 1, 2, 1000)] == ["0 runs", "1 run", "2 runs", "1,000 runs"]
