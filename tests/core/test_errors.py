"""The tree of errors, as it is drawn and as it is."""

import copy
import inspect
import pickle
import re
from collections.abc import Callable, Iterator

import pytest

from migrator.core import errors
from migrator.core.errors import DatabaseError, HistoryError, MigratorError, RevisionFileError, RunFailed
from migrator.core.run import Run

DOCUMENTED = {1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 130}
COMMON = ["type", "message", "state", "hint", "exit_code", "retry"]
RUN = Run(run_id="7", database="app", revision="b", source="text")


def tree(top: type[MigratorError], depth: int = 0) -> Iterator[tuple[int, type[MigratorError]]]:
    """Walk the classes of the module as they inherit, depth first, in the order in which they are written."""
    yield depth, top
    for below in top.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below, depth + 1)


CLASSES = [each for _, each in tree(MigratorError)]


def made(kind: type[MigratorError]) -> MigratorError:
    """Make an error of a class with whatever it asks for."""
    if issubclass(kind, RevisionFileError):
        return kind("what", path="a.py", line=3, hint="type this")
    if issubclass(kind, HistoryError):
        return kind("what", paths=["a.py", "b.py"], hint="type this")
    if issubclass(kind, DatabaseError):
        return kind("what", code="42P01", state="as it was", hint="type this")
    if issubclass(kind, RunFailed):
        return kind("what", done=(RUN,), failed=RUN, state="as it was", hint="type this")
    return kind("what", state="as it was", hint="type this")


def test_drawn_as_it_is() -> None:
    """The drawing in the docstring shows every class, under its parent, in order, with its exit code."""
    drawn: list[tuple[int, str, int]] = []
    codes: dict[int, int] = {}
    for text in (errors.__doc__ or "").splitlines():
        found = re.fullmatch(r"    ((?:[│ ]   )*(?:[├└]── )?)(\w+) *(\d+)?(?:   .*)?", text)
        if found:
            depth = len(found[1]) // 4
            codes[depth] = int(found[3] or codes[depth - 1])
            drawn.append((depth, found[2], codes[depth]))
    assert [(depth, each.__name__, each.exit_code) for depth, each in tree(MigratorError)] == drawn


def test_the_lines_of_the_drawing() -> None:
    """A corner ends a list, a tee goes on: the drawing is a tree."""
    lines = [text[4:] for text in (errors.__doc__ or "").splitlines() if re.match(r"    [│├└M]", text)]
    assert len(CLASSES) == len(lines)
    for text, following in zip(lines, [*lines[1:], ""], strict=True):
        for place, sign in enumerate(text[:8]):
            below = following[place : place + 1]
            assert not (sign in "├│" and (not below or below not in "├│└")), f"{text!r} above {following!r}"
            assert not (sign == "└" and below and below in "├│└"), f"{text!r} above {following!r}"


def test_none_is_forgotten() -> None:
    """Every class of the module is in the tree."""
    there = {each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__}
    assert there == set(CLASSES)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class(kind: type[MigratorError]) -> None:
    """A class has a sentence of its own, a documented exit code, and says what, how it stands and what to type."""
    assert kind.__dict__["__doc__"].strip().split("\n")[0].rstrip().endswith((".", "`)."))
    assert kind.exit_code in DOCUMENTED
    error = made(kind)
    shown = error.as_dict()
    state = "Nothing was changed." if issubclass(kind, RevisionFileError | HistoryError) else "as it was"
    message = "a.py:3: what" if kind is RevisionFileError else "what"
    expected = [kind.__name__, message, state, "type this", kind.exit_code, error.retry]
    assert expected == [shown[name] for name in COMMON]
    assert message == str(error)
    assert dict(error.details()) == {name: value for name, value in shown.items() if name not in COMMON}


def test_details() -> None:
    """The errors that know more say it in `--json`; the source of a run is not shown."""
    assert made(RevisionFileError).details() == {"path": "a.py", "line": 3}
    assert made(HistoryError).details() == {"paths": ("a.py", "b.py")}
    assert made(DatabaseError).details() == {"code": "42P01"}
    assert {"done": [RUN.as_dict()], "failed": RUN.as_dict()} == made(RunFailed).details()
    assert MigratorError("what").details() == {}


def test_a_whole_file() -> None:
    """Without a line the path stands alone."""
    assert RevisionFileError("what", path="a.py").message == "a.py: what"


def test_an_exit_code_of_its_own() -> None:
    """A failed run may end with the code of its cause: the code is asked of the error, not of its class."""
    error = made(RunFailed)
    error.exit_code = 4
    assert error.as_dict()["exit_code"] == 4
    assert RunFailed.exit_code == 1


def test_unsaid_is_empty() -> None:
    """What nobody said is an empty text, never None."""
    assert (MigratorError("what").state, MigratorError("what").hint) == ("", "")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_travels(kind: type[MigratorError], again: Callable[[MigratorError], MigratorError]) -> None:
    """Pickled and copied, as process pools and task queues do it, every error keeps all that it says."""
    error = made(kind)
    error.exit_code = 42
    error.add_note("in the queue")
    found = again(error)
    assert (type(found), found.args, str(found)) == (kind, error.args, str(error))
    assert found.as_dict() == error.as_dict()
    assert found.__notes__ == ["in the queue"]


def test_what_to_retry() -> None:
    """A command may be run again by itself after a lost connection, a held lock, a stop, and an unanswered commit."""
    again = {kind.__name__ for kind in CLASSES if made(kind).retry}
    assert again == {
        *("LockHeld", "LockLost", "TrackerRefused", "ConnectionFailed", "ConnectionLost", "Stopped"),
        *("OutcomeUnknown", "TransactionAborted"),
    }
    failed = made(RunFailed)
    assert isinstance(failed, RunFailed)
    failed.transient = True
    assert failed.as_dict()["retry"]
