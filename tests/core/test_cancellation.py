"""No place in the package takes a request to stop for something else: read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import migrator

FILES = sorted(Path(migrator.__file__).parent.rglob("*.py"))
BROAD = {"Exception", "BaseException", "MigratorError", "DatabaseError", "ConnectionFailed", "ConnectionLost"}
ENDS_BY_ITSELF = {
    "adapters/postgres/_link.py:_keep": "ends by an event, so that no statement is cancelled",
}
THE_END = {
    "cli/schedule.py:command": "to be stopped is how it ends",
    "cli/serve.py:_serve": "to be stopped is how it ends",
    "runtime/scheduler.py:_alone": "a task of its own, which ends there",
    "adapters/_shared.py:to_the_end": "it is cancelled again when the work is done",
    "adapters/postgres/_session.py:_transaction": "raised again by `_reraise`",
    "runtime/lease.py:stop": "our own, which came too late",
    "dashboard/_asking.py:_watch": "the cancellation of another task, whose end is written down",
}


def _functions() -> Iterator[tuple[str, ast.AsyncFunctionDef]]:
    for path in FILES:
        name = path.relative_to(Path(migrator.__file__).parent).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.AsyncFunctionDef):
                yield f"{name}:{node.name}", node


def _names(node: ast.AST | None) -> set[str]:
    return (
        {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        | {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
        if node is not None
        else {"BaseException"}
    )


def _awaits(nodes: list[ast.stmt]) -> bool:
    waits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
    return any(isinstance(each, waits) for node in nodes for each in ast.walk(node))


def _raises(nodes: list[ast.stmt]) -> bool:
    return any(isinstance(each, ast.Raise | ast.Return | ast.Break) for node in nodes for each in ast.walk(node))


def _caught(node: ast.AST) -> Iterator[tuple[set[str], bool]]:
    """Yield what is caught around an await, and whether it is raised again."""
    for each in ast.walk(node):
        if isinstance(each, ast.Try) and _awaits(each.body):
            yield from ((_names(handler.type), _raises(handler.body)) for handler in each.handlers)
        if isinstance(each, ast.With | ast.AsyncWith) and _awaits(each.body):
            for item in each.items:
                call = item.context_expr
                if isinstance(call, ast.Call) and "suppress" in _names(call.func):
                    yield {name for arg in call.args for name in _names(arg)}, False


def _heeds(node: ast.AST) -> bool:
    return any(isinstance(each, ast.Attribute) and each.attr == "heed" for each in ast.walk(node))


def test_loops_that_try_again() -> None:
    """A loop that tries again after an error looks for a request to stop: an error of a cleanup may have hidden one."""
    found = []
    for name, function in _functions():
        for loop in ast.walk(function):
            if isinstance(loop, ast.While) and isinstance(
                loop.test, ast.Constant | ast.Call | ast.Compare | ast.UnaryOp
            ):
                again = any(names & BROAD and not ends for names, ends in _caught(loop))
                if again and not _heeds(loop) and name not in ENDS_BY_ITSELF:
                    found.append(name)
    assert found == []


def test_cancellations_that_are_caught() -> None:
    """CancelledError is caught only where it is raised again, or where to be stopped is how it ends."""
    found = [
        name
        for name, function in _functions()
        for names, raised in _caught(function)
        if names & {"CancelledError", "BaseException"} and not raised and name not in THE_END
    ]
    assert found == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_wait_for(path: Path) -> None:
    """`asyncio.wait_for` of Python 3.11 loses a request to stop that comes together with the result."""
    assert "asyncio.wait_for(" not in path.read_text("utf-8")
