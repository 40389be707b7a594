"""What a revision's text says of its long changes, read without running it."""

import ast
from collections.abc import Iterator

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def loops(source: str, function: str) -> tuple[str, ...]:
    """Return the names of the loops in a function of a revision's text, "" where a name is not written out.

    A loop is there where the function, or the method of that name of a class, itself names `batches` of an argument of
    its own: what a comment, a string or another function says does not count. () where the text is no Python.
    """
    try:
        tree = ast.parse(source.removeprefix("\ufeff"))
    except (SyntaxError, ValueError):
        return ()
    return tuple(name for each in _functions(tree, function) for name in _named(each))


def _functions(tree: ast.Module, name: str) -> list[_Function]:
    plain = [each for each in tree.body if isinstance(each, _Function) and each.name == name]
    if plain:
        return plain[-1:]
    classes = [each for each in tree.body if isinstance(each, ast.ClassDef)]
    return [each for one in classes for each in one.body if isinstance(each, _Function) and each.name == name]


def _named(function: _Function) -> Iterator[str]:
    given = {each.arg for each in (*function.args.posonlyargs, *function.args.args)}
    calls = {id(node.func): node for node in ast.walk(function) if isinstance(node, ast.Call)}
    named = [each for each in ast.walk(function) if isinstance(each, ast.Attribute) and each.attr == "batches"]
    for each in sorted(named, key=lambda one: (one.lineno, one.col_offset)):
        if isinstance(each.value, ast.Name) and each.value.id in given:
            yield _name(calls.get(id(each)))


def _name(call: ast.Call | None) -> str:
    """Return the name that a call gives to its loop, which is by default that of the table."""
    if call is None:
        return ""
    words = {each.arg: each.value for each in call.keywords}
    return _text(words.get("name")) if "name" in words else _text(call.args[0] if call.args else words.get("source"))


def _text(value: ast.expr | None) -> str:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
