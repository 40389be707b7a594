"""Coroutines that a revision makes and drops, as far as its syntax tree shows them: a forgotten `await`."""

import ast
import re
from collections.abc import Iterator
from typing import TypeGuard

from migrator.formats._header import AROUND, FUNCTIONS

_Function = ast.FunctionDef | ast.AsyncFunctionDef

_CONTEXT, _BATCH, _SQLALCHEMY, _MONGO = "context", "batch", "sqlalchemy", "mongo"

_COROUTINES = {
    _CONTEXT: re.compile("execute|fetch|value|columns"),
    _BATCH: re.compile("rows"),
    _SQLALCHEMY: re.compile(
        "execute|exec_driver_sql|scalars?|stream|stream_scalars|run_sync|get|get_one|merge|refresh|delete|flush|commit"
        "|rollback|close"
    ),
    _MONGO: re.compile(
        "insert_(one|many)|(update|delete)_(one|many)|replace_one|bulk_write|find_one|find_one_and_(update|replace|delete)"
        "|(estimated_document_|)count(_documents|)|distinct|aggregate|command|drop|rename|options|index_information"
        "|(create|drop)_(index|indexes|collection|search_index)|update_search_index|validate_collection"
        "|list_(indexes|collections|collection_names)"
    ),
}
"""The methods that return a coroutine, by what they are called on."""

_PARTS = {(_CONTEXT, "conn"): _SQLALCHEMY, (_CONTEXT, "session"): _SQLALCHEMY, (_CONTEXT, "db"): _MONGO}


def forgotten(module: ast.Module) -> dict[str, tuple[int, str]]:
    """Return the first statement of each function that drops a coroutine: its line and what is called.

    The key is the name of a function of the revision, or "" for any other function of the file, which all may call.
    """
    own = {node.name for node in module.body if _is_coroutine(node)}
    found: dict[str, tuple[int, str]] = {}
    holders: list[ast.Module | ast.ClassDef] = [
        module,
        *(node for node in module.body if isinstance(node, ast.ClassDef)),
    ]
    for holder in holders:
        methods = {node.name for node in holder.body if _is_coroutine(node)} if holder is not module else set()
        for node in holder.body:
            if isinstance(node, _Function):
                key = node.name if node.name in FUNCTIONS + AROUND else ""
                for fault in _Names(node, own, methods).dropped():
                    found[key] = min(fault, found.get(key, fault))
    return found


def _is_coroutine(node: ast.stmt) -> TypeGuard[ast.AsyncFunctionDef]:
    """Say whether a statement defines a coroutine function, and not an asynchronous generator."""
    return isinstance(node, ast.AsyncFunctionDef) and not any(
        isinstance(each, ast.Yield | ast.YieldFrom) for each in ast.walk(node)
    )


class _Names:
    """What the names in one function stand for, as far as it matters here."""

    def __init__(self, function: _Function, own: set[str], methods: set[str]) -> None:
        self._function = function
        self._methods = methods
        self._kinds: dict[str, str] = {}
        arguments = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
        known = function.name in FUNCTIONS + AROUND
        for name in [each for each in arguments if each != "self"][: 1 if known else None]:
            if known or name in ("ctx", "context"):
                self._kinds[name] = _CONTEXT
        for node in ast.walk(function):
            self._bind(node)
        bound = {
            node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        self._own = own - bound - set(arguments)

    def dropped(self) -> Iterator[tuple[int, str]]:
        """Yield the statements that are a call of a coroutine function, and nothing else."""
        for node in ast.walk(self._function):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Call)
                and self._makes_coroutine(node.value.func)
            ):
                yield node.lineno, ast.unparse(node.value.func)

    def _makes_coroutine(self, called: ast.expr) -> bool:
        match called:
            case ast.Name(id=name):
                return name in self._own
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in self._methods:
                return True
            case ast.Attribute(value=value, attr=name):
                known = _COROUTINES.get(self._kind(value))
                return known is not None and known.fullmatch(name) is not None
        return False

    def _bind(self, node: ast.AST) -> None:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                self._kinds[name] = self._kind(value)
            case ast.AsyncWith(items=items):
                for item in items:
                    match item:
                        case ast.withitem(
                            ast.Call(func=ast.Attribute(value=value, attr="database")), ast.Name(id=name)
                        ):
                            self._kinds[name] = self._kind(value)
            case ast.AsyncFor(target=ast.Name(id=name), iter=ast.Call(func=ast.Attribute(value=value, attr="batches"))):
                self._kinds[name] = _BATCH if self._kind(value) == _CONTEXT else ""

    def _kind(self, value: ast.expr) -> str:
        """Return what an expression stands for, "" where it is not known."""
        match value:
            case ast.Name(id=name):
                return self._kinds.get(name, "")
            case ast.Attribute(value=of, attr=name):
                kind = self._kind(of)
                return kind if kind == _MONGO else _PARTS.get((kind, name), "")
            case (
                ast.Subscript(value=of) | ast.Call(func=ast.Attribute(value=of, attr="get_collection" | "with_options"))
            ):
                kind = self._kind(of)
                return kind if kind == _MONGO else ""
        return ""
