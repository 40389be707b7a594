"""What no plan is made of: one named row a refusal, with the sentence that a person reads and the way out."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from migrator.core.errors import (
    AmbiguousTarget,
    DatabaseAhead,
    Drifted,
    Irreversible,
    MigratorError,
    MultipleHeads,
    ResolveNeeded,
    StillNeeded,
    TargetNotFound,
    UsageError,
)
from migrator.core.history import History
from migrator.core.revision import Direction, Revision
from migrator.core.run import Effect, Run, State

from .build import commands, failed, line, plan, revision, state, steps
from .test_plan import FORK, LINE, LINKED, MERGED, TWO

ONE_WAY = [*line("a b"), revision("c", "b", reversible=False), revision("d", "c")]
STORED = [*line("a b"), revision("zz", "b", stored=True)]
NEXT = [revision("a"), revision("b", "a"), revision("events:e", needs="app:b"), revision("events:f", "e")]
BAD = [failed("b")]
BAD_DOWN = [failed("b", direction=Direction.DOWNGRADE)]


@dataclass(frozen=True)
class Row:
    """`migrator VERB TARGETS` is refused with this error, and its text says these words."""

    name: str
    files: list[Revision]
    state: State
    command: str
    error: type[MigratorError]
    says: Sequence[str]


def on(applied: str = "", *, drifted: str = "", blocked: Sequence[Run] = ()) -> State:
    """Make a state."""
    return state(applied, drifted=drifted, blocked=blocked)


ROWS = [
    Row("head of a fork", FORK, on("a"), "upgrade head", MultipleHeads,
        ["d (Title of d), y (Title of y)", "`migrator upgrade heads`", "merge --head d --head y"]),
    Row("head of a fork under a label", [*FORK, revision("z", "c")], on("a"), "upgrade left@head", MultipleHeads,
        ["2 heads", "d (", "z ("]),
    Row("up to base", LINE, on(), "upgrade base", UsageError, ["`migrator downgrade base`"]),
    Row("up by -1", LINE, on("aa"), "upgrade -1", UsageError, ["`migrator downgrade -1`"]),
    Row("down to head", LINE, on("aa"), "downgrade head", UsageError, ["`migrator upgrade head`"]),
    Row("down to heads", LINE, on("aa"), "downgrade heads", UsageError, ["`migrator upgrade heads`"]),
    Row("down by +1", LINE, on("aa"), "downgrade +1", UsageError, ["`migrator upgrade +1`"]),
    Row("stamp by -1", LINE, on("aa"), "stamp -1", UsageError, ["stamp", "'-1'", "`migrator history`"]),
    Row("stamp by +1", LINE, on("aa"), "stamp +1", UsageError, ["stamp", "'+1'", "`migrator history`"]),
    Row("force head", LINE, on("aa"), "again head", TargetNotFound, ["'head' names no revision"]),
    Row("force what is not applied", LINE, on("aa"), "again ab", TargetNotFound,
        ["app:ab is not applied", "`migrator upgrade app:ab`"]),
    Row("no such database", TWO, on(), "upgrade audit:head", UsageError, ["'audit'", "Known: app, events"]),
    Row("no such id", LINE, on(), "upgrade dc", TargetNotFound, ["'dc'", "Did you mean dd?"]),
    Row("no such id at all", LINE, on(), "upgrade qqqq", TargetNotFound, ["of app has", "`migrator history`"]),
    Row("no such label", FORK, on(), "upgrade rigt@head", TargetNotFound, ["'rigt'", "Did you mean right?"]),
    Row("no such label going down", FORK, on("a"), "downgrade rigt@a", TargetNotFound, ["'rigt@a'"]),
    Row("no such label, counted", FORK, on("a"), "upgrade rigt@+1", TargetNotFound, ["Did you mean right?"]),
    Row("label@id of another branch", FORK, on("a"), "upgrade left@x", TargetNotFound,
        ["app:x is not on the branch left", "`app:x`", "`app:left@head`"]),
    Row("down to label@id of another branch", FORK, on("a b c x"), "downgrade left@x", TargetNotFound,
        ["app:x is not on the branch left"]),
    Row("a beginning of two ids", LINE, on(), "upgrade a", AmbiguousTarget, ["app:aa, app:ab", "app:aa or app:ab"]),
    Row("an id of two databases", [*line("a"), *line("a", "events")], on(), "upgrade a", AmbiguousTarget,
        ["app:a or events:a"]),
    Row("more than there is", LINE, on("aa"), "upgrade +4", TargetNotFound, ["app has 3 pending", "app:head"]),
    Row("after the head", LINE, on(), "upgrade dd+1", TargetNotFound, ["nothing after dd", "`migrator history`"]),
    Row("before the base", LINE, on(), "upgrade aa-1", TargetNotFound, ["nothing before aa", "`migrator history`"]),
    Row("after a fork", FORK, on(), "upgrade b+1", AmbiguousTarget, ["after b the history branches: c, x"]),
    Row("before a merge", MERGED, on(), "upgrade m-1", AmbiguousTarget, ["before m the history branches: d, y"]),
    Row("+1 at a fork", FORK, on("a b"), "upgrade +1", AmbiguousTarget,
        ["`migrator upgrade app:c`", "`migrator upgrade app:x`"]),
    Row("+1 over two databases", TWO, on("a"), "upgrade +1", AmbiguousTarget,
        ["`migrator upgrade app:+1`", "`migrator upgrade events:+1`"]),
    Row("label@+9 of two", FORK, on("a b"), "upgrade left@+9", TargetNotFound,
        ["2 pending in left", "`migrator upgrade app:left@head`"]),
    Row("+9 in a history with two heads", FORK, on("a b"), "upgrade +9", TargetNotFound,
        ["`migrator upgrade app:heads`"]),
    Row("-1 of a branch of which nothing is applied", FORK, on("a b x"), "downgrade left@-1", TargetNotFound,
        ["nothing of left is applied"]),
    Row("-1 of nothing", LINE, on(), "downgrade -1", TargetNotFound, ["nothing is applied", "`migrator status`"]),
    Row("-3 of two", LINE, on("aa ab"), "downgrade -3", TargetNotFound, ["only 2 applied", "downgrade base`"]),
    Row("down to what is not applied", LINE, on("aa"), "downgrade cc", TargetNotFound, ["app:cc is not applied"]),
    Row("no downgrade", ONE_WAY, on("a b c d"), "downgrade a", Irreversible,
        ["app:c (Title of c) has no downgrade: revisions/app/c.py", "restore a backup"]),
    Row("needed by another database", NEXT, on("a b events:e"), "downgrade app:-1", StillNeeded,
        ["events:e depends on app:b", "`migrator downgrade app:b-1 events:e-1`"]),
    Row("needed inside the database", [revision("a", labels="l"), revision("x", labels="r", needs="a")], on("a x"),
        "downgrade l@base", StillNeeded, ["app:x depends on app:a", "`migrator downgrade app:a-1 app:x-1`"]),
    Row("edited, then up", LINE, on("aa ab", drifted="aa"), "upgrade head", Drifted,
        ["app:aa (revisions/app/aa.py)", "`migrator stamp app:ab`"]),
    Row("edited, nothing to do", LINE, on("aa ab cc dd", drifted="dd"), "upgrade head", Drifted, ["app:dd"]),
    Row("edited on a fork", FORK, on("a b c x", drifted="b"), "upgrade heads", Drifted,
        ["`migrator stamp app:c app:x`"]),
    Row("edited in a database that a link brings in", LINKED, on("a", drifted="a"), "upgrade events:f", Drifted,
        ["app:a"]),
    Row("edited, then down", LINE, on("aa ab", drifted="ab"), "downgrade -1", Drifted, ["app:ab"]),
    Row("ahead of the files", line("a b"), on("a zz"), "upgrade head", DatabaseAhead,
        ["app is ahead", "app:zz applied 2026-11-20T10:30:00Z by ann@pod-1 from release v7",
         "Pending of these files: 1 revision.", "`migrator downgrade app:zz-1`"]),
    Row("ahead with a stored text", [*STORED, revision("c", "b")], on("a b zz"), "upgrade c", DatabaseAhead,
        ["app:zz"]),
    Row("no file and no text, base", line("a b"), on("a zz"), "downgrade base", DatabaseAhead,
        ["app:zz", "Restore the file"]),
    Row("no file and no text, -1", line("a b"), on("a zz"), "downgrade -1", DatabaseAhead, ["app:zz"]),
    Row("no file and no text, label", [revision("a", labels="l")], on("a zz"), "downgrade l@base", DatabaseAhead,
        ["app:zz"]),
    Row("no file and no text, stamp", line("a b"), on("a zz"), "stamp base", DatabaseAhead, ["app:zz"]),
    Row("half done, then up", line("a b c"), on("a", blocked=BAD), "upgrade head", ResolveNeeded,
        ["app:b", "bad-b", "effect is partial: it broke", "may hold a part of it", "`migrator resolve bad-b"]),
    Row("half undone, then down", line("a b"), on("a b", blocked=BAD_DOWN), "downgrade -1", ResolveNeeded,
        ["the last downgrade bad-b failed", "`migrator resolve bad-b"]),
    Row("half undone, then up above it", line("a b c"), on("a b", blocked=BAD_DOWN), "upgrade head", ResolveNeeded,
        ["the last downgrade bad-b failed", "`migrator resolve bad-b"]),
    Row("half undone and rerunnable, then up above it", [revision("b", rerunnable=True), revision("c", "b")],
        on("b", blocked=BAD_DOWN), "upgrade head", ResolveNeeded, ["bad-b"]),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rows(row: Row) -> None:
    """Each row is refused as it says, with exactly its class, its words, a state and a hint."""
    verb, _, targets = row.command.partition(" ")
    with pytest.raises(MigratorError) as caught:
        plan(verb, History(row.files), row.state, targets)
    error = caught.value
    assert row.error is type(error)
    text = f"{error.message}\n{error.state}\n{error.hint}"
    assert [word for word in row.says if word not in text] == []
    assert "Nothing was changed" in error.state
    assert error.hint != ""


def test_names() -> None:
    """No two rows have one name."""
    assert len(ROWS) == len({row.name for row in ROWS})


@pytest.mark.parametrize(
    ("files", "applied", "targets", "expected"),
    [
        pytest.param(TWO, "a b events:e", "-1", {"app:-1": "-b", "events:-1": "-events:e"}, id="two databases"),
        pytest.param(FORK, "a b c x", "-1", {"app:c-1": "-c", "app:x-1": "-x"}, id="two branches"),
        pytest.param(
            [*FORK, *line("e", "events")], "a b c events:e x", "-1",
            {"app:c-1": "-c", "events:-1": "-events:e", "app:x-1": "-x"}, id="both",
        ),
        pytest.param(TWO, "a b events:e events:f", "-2", {"app:-2": "-b -a", "events:-2": "-events:f -events:e"},
                     id="two databases, two steps"),
        pytest.param(
            [*FORK, revision("z", "c")], "a b c d z", "app:left@-1", {"app:d-1": "-d", "app:z-1": "-z"}, id="a label"
        ),
    ],
)  # fmt: skip
def test_last_step_is_not_unique(files: list[Revision], applied: str, targets: str, expected: dict[str, str]) -> None:
    """`downgrade -1` never guesses: exit code 3, the last steps, and a command for each that does just that."""
    history, before = History(files), state(applied)
    with pytest.raises(AmbiguousTarget) as caught:
        plan("downgrade", history, before, targets)
    assert caught.value.exit_code == 3
    offered = commands(caught.value.hint)
    assert expected == {each: steps(plan(verb, history, before, each)) for verb, each in offered}
    for each in expected.values():
        assert f"{each.split()[0][1:]} (Title of" in caught.value.message


@pytest.mark.parametrize(
    ("name", "files", "applied", "targets", "expected"),
    [
        ("the last step", NEXT, "a b events:e", "app:-1", "-events:e -b"),
        ("and what stands on it", NEXT, "a b events:e events:f", "app:-1", "-events:f -events:e -b"),
        ("base of one database", NEXT, "a b events:e", "app:base", "-events:e -b -a"),
        ("back and forth", [*NEXT, revision("c", "b", needs="events:f"), revision("audit:x", needs="app:c")],
         "a b events:e events:f c audit:x", "app:b", "-audit:x -c"),
        ("through a third", [*NEXT, revision("audit:x", needs="events:f")],
         "a b events:e events:f audit:x", "app:-1", "-audit:x -events:f -events:e -b"),
        ("back into the first", [*NEXT[2:], revision("z", labels="other", needs="events:f"),
         revision("a", labels="main"), revision("b", "a")], "a b events:e events:f z", "main@-1",
         "-z -events:f -events:e -b"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)  # fmt: skip
def test_still_needed_takes_both(name: str, files: list[Revision], applied: str, targets: str, expected: str) -> None:
    """The command in the hint, typed as it stands, takes down both and only what must go with them."""
    history, before = History(files), state(applied)
    with pytest.raises(StillNeeded) as caught:
        plan("downgrade", history, before, targets)
    assert caught.value.exit_code == 2
    ((verb, hinted),) = commands(caught.value.hint)
    assert expected == steps(plan(verb, history, before, hinted)), name


def test_a_link_to_what_is_not_applied_needs_nothing() -> None:
    """Only applied revisions hold others back."""
    assert steps(plan("downgrade", History(NEXT), state("a b"), "-1")) == "-b"


def test_drift_is_accepted_by_the_stamp_of_its_hint() -> None:
    """The command that a Drifted offers writes the edited revision anew, and touches no branch beside it."""
    history, before = History(FORK), state("a b c x", drifted="b")
    with pytest.raises(Drifted) as caught:
        plan("upgrade", history, before, "heads")
    ((verb, targets),) = commands(caught.value.hint)
    assert steps(plan(verb, history, before, targets)) == "b!"


@pytest.mark.parametrize("effect", Effect)
def test_every_blocked_run_stops(effect: Effect) -> None:
    """Whatever stands in `blocked` must be judged by a person, whatever its effect."""
    with pytest.raises(ResolveNeeded, match=f"its effect is {effect}"):
        plan("upgrade", History(LINE), state("aa", blocked=[failed("ab", effect)]), "head")
