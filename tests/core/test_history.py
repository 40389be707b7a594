"""The graph of all revisions: what it refuses, and how it is asked."""

from dataclasses import replace

import pytest

from migrator.core.errors import (
    AmbiguousTarget,
    CycleFound,
    DuplicateRevision,
    HistoryError,
    ParentMissing,
    SelfParent,
    TargetNotFound,
    UnlabelledRoots,
)
from migrator.core.history import History
from migrator.core.revision import Revision

from .build import key, keys, line, revision, words

FORK = [
    revision("a"),
    revision("b", "a"),
    revision("c", "b", labels="left"),
    revision("d", "c"),
    revision("x", "b", labels="right"),
    revision("m", "d x"),
    revision("events:e", needs="app:b", labels="left"),
]
TWIN = replace(revision("a"), path="revisions/app/copy.py")

REFUSED: list[tuple[str, list[Revision], type[HistoryError], str, str]] = [
    ("a circle of two", [revision("a", "b"), revision("b", "a")], CycleFound, "a b", "Change the down_revision"),
    ("a circle of three", [revision("r"), revision("a", "r c"), revision("b", "a"), revision("c", "b")],
     CycleFound, "a b c", "Change the down_revision"),
    ("a circle across databases", [revision("a", needs="events:e"), revision("events:e", needs="app:a")],
     CycleFound, "a events:e", "depends_on"),
    ("a missing parent, mistyped", [revision("aa01"), revision("bb02", "aa0l")], ParentMissing, "bb02",
     "Did you mean aa01?"),
    ("a missing parent", [revision("aa01"), revision("bb02", "zzzz")], ParentMissing, "bb02",
     "Restore the file of app:zzzz, or correct revisions/app/bb02.py."),
    ("a missing link", [revision("a"), revision("b", "a", needs="events:e")], ParentMissing, "b", "events:e"),
    ("a link to an id of another database", [revision("a"), revision("b", "a", needs="e"), revision("events:e")],
     ParentMissing, "b", "app:e"),
    ("twins", [revision("a"), TWIN], DuplicateRevision, "a", "another id"),
    ("its own parent", [revision("a"), revision("b", "b")], SelfParent, "b", "Correct it in revisions/app/b.py"),
    ("its own link", [revision("a"), revision("b", "a", needs="app:b")], SelfParent, "b", "Correct it"),
    ("two bare roots", [revision("a"), revision("b", "a"), revision("x")], UnlabelledRoots, "a x", "branch_labels"),
    ("one bare root of two", [revision("a", labels="l"), revision("x")], UnlabelledRoots, "a x", "branch_labels"),
    ("a label twice", [revision("a"), revision("b", "a", labels="l"), revision("c", "a", labels="l")], HistoryError,
     "b c", "A branch label names one branch"),
    ("a label of an ancestor", [revision("a", labels="l"), revision("b", "a", labels="l")], HistoryError, "a b",
     "remove it"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "error", "blamed", "hint"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED]
)  # fmt: skip
def test_refused(files: list[Revision], error: type[HistoryError], blamed: str, hint: str) -> None:
    """Files that form no history are refused; the error names the files to blame, and no others."""
    with pytest.raises(HistoryError) as caught:
        History(files)
    paths = {f"revisions/{each.database}/{each.id}.py" for each in keys(blamed)}
    assert error is type(caught.value)
    assert paths == set(caught.value.paths) - {TWIN.path}
    assert paths == {path for path in paths if path in caught.value.message + caught.value.hint}
    assert hint in caught.value.hint
    assert caught.value.state == "Nothing was changed."
    assert {"paths": caught.value.paths} == caught.value.details()


def test_twins_are_named_both() -> None:
    """Of two files with one id, both are named."""
    with pytest.raises(DuplicateRevision) as caught:
        History([revision("a"), TWIN])
    assert caught.value.paths == ("revisions/app/a.py", "revisions/app/copy.py")
    assert "revisions/app/a.py, revisions/app/copy.py" in caught.value.message


def test_a_circle_is_drawn() -> None:
    """The message of a circle goes round it once."""
    with pytest.raises(CycleFound) as caught:
        History([revision("a", "b"), revision("b", "a")])
    _, _, drawn = caught.value.message.partition(": ")
    assert sorted(["app:a", "app:b"]) == sorted(set(drawn.split(" -> ")))
    assert drawn.split(" -> ")[0] == drawn.split(" -> ")[-1]


def test_accepted() -> None:
    """Roots in two databases, labelled roots, one label or id in two databases, a parent named twice, are no errors."""
    History([revision("a", labels="l"), revision("b", labels="k"), revision("events:a"), revision("events:b", "a")])
    History([revision("a", labels="l"), revision("events:a", labels="l")])
    assert words(History([revision("b", "a", needs="a"), revision("a")]).order) == "a b"
    assert len(History([])) == 0


def test_order() -> None:
    """Parents come first; among equals the order of the files decides."""
    files = {one.id: one for one in FORK}
    assert words(History(FORK).order) == "a b c d x m events:e"
    assert words(History([files[each] for each in "mxebdca"]).order) == "a b x events:e c d m"
    assert [one.id for one in History(line("a b"))] == ["a", "b"]


def test_asked() -> None:
    """Parents, children, line children, members and items of a history."""
    history = History(FORK)
    assert " ".join(str(each) for each in history.parents(key("events:e"))) == "app:b"
    assert words(history.children(key("b"))) == "c x events:e"
    assert words(history.line_children(key("b"))) == "c x"
    assert words(history.of("events")) == "events:e"
    assert words(history.of("audit")) == ""
    assert key("a") in history
    assert key("events:a") not in history
    assert FORK[0] == history[key("a")]
    assert len(history) == 7


def test_heads() -> None:
    """A head has no children in its own database; a label narrows to its branch; a link makes no child."""
    history = History(FORK)
    assert words(history.heads("app")) == "m"
    assert words(history.heads("app", "left")) == "m"
    assert words(history.heads("events")) == "events:e"
    assert words(History(FORK[:5]).heads("app")) == "d x"
    assert words(History(FORK[:5]).heads("app", "left")) == "d"
    assert words(History([*FORK[:2], FORK[6]]).heads("app")) == "b"


def test_labels() -> None:
    """A label goes to all that stands on its revision in the same database; a merge has those of both sides."""
    history = History(FORK)
    expected = {"a": set(), "b": set(), "c": {"left"}, "d": {"left"}, "x": {"right"}, "m": {"left", "right"},
                "events:e": {"left"}}  # fmt: skip
    assert expected == {name: set(history.labels(key(name))) for name in expected}
    assert words(history.branch("app", "left")) == "c d m"
    assert words(history.branch("app", "right")) == "x m"


def test_labels_stay_in_their_database() -> None:
    """A link does not carry a label to another database."""
    history = History([revision("a", labels="l"), revision("events:e", needs="app:a")])
    assert frozenset() == history.labels(key("events:e"))


@pytest.mark.parametrize(
    ("label", "hint"), [("lfet", "Did you mean left?"), ("zzz", "Labels are the branch_labels in a revision file.")]
)
def test_no_such_label(label: str, hint: str) -> None:
    """A label that nothing has is refused with the nearest one."""
    with pytest.raises(TargetNotFound) as caught:
        History(FORK).branch("app", label)
    assert hint == caught.value.hint


IDS = History([*line("3f2a91 3f2b00 3f2 77aa01"), *line("3f2a91 e5", "events")])


@pytest.mark.parametrize(
    ("prefix", "databases", "expected"),
    [("3f2a", "app", "3f2a91"), ("7", "app events", "77aa01"), ("3f2", "app", "3f2"), ("3f2", "app events", "3f2"),
     ("3f2a91", "events", "events:3f2a91"), ("3", "events", "events:3f2a91"), ("e", "app events", "events:e5")],
)  # fmt: skip
def test_find(prefix: str, databases: str, expected: str) -> None:
    """The beginning of an id is enough where it is unique in the databases in scope; a whole id always wins."""
    assert key(expected) == IDS.find(prefix, databases.split())


@pytest.mark.parametrize(
    ("prefix", "databases", "listed", "hint"),
    [("3f", "app", "app:3f2a91, app:3f2b00, app:3f2", "app:3f2a91 or app:3f2b00"),
     ("3f2a91", "app events", "app:3f2a91, events:3f2a91", "app:3f2a91 or events:3f2a91")],
)  # fmt: skip
def test_find_ambiguous(prefix: str, databases: str, listed: str, hint: str) -> None:
    """A beginning of several ids is refused with the candidates."""
    with pytest.raises(AmbiguousTarget) as caught:
        IDS.find(prefix, databases.split())
    assert f"'{prefix}' may mean {listed}" == caught.value.message
    assert caught.value.hint.endswith(hint)


@pytest.mark.parametrize(
    ("prefix", "hint"), [("3f2a19", "Did you mean 3f2a91?"), ("qq", "`migrator history` lists the ids.")]
)
def test_find_nothing(prefix: str, hint: str) -> None:
    """What begins no id is refused with the nearest id."""
    with pytest.raises(TargetNotFound) as caught:
        IDS.find(prefix, ["app", "events"])
    assert f"no revision of app or events has an id that begins with '{prefix}'" == caught.value.message
    assert hint == caught.value.hint


def test_sort() -> None:
    """Sorting keeps parents first and otherwise follows the rank, or the files where there is none."""
    history = History(FORK)
    some = keys("x d c b")
    assert words(history.sort(some)) == "b c d x"
    assert words(history.sort(some, rank=lambda each: "xdcb".index(each.id))) == "b x c d"


def test_reach() -> None:
    """Ancestors cross databases; descendants stay in theirs."""
    history = History(FORK)
    assert set(keys("a b events:e")) == history.ancestors([key("events:e")])
    assert set(keys("b c d x m")) == history.descendants([key("b")])
    assert set() == history.ancestors([])
