"""What a Python revision runs, without comments, layout and docstrings: its upgrade, and apart from it the way back.

Two texts are compared on one interpreter, so that the form that `ast.dump` gives a tree may differ between versions of
Python.
"""

import ast
import warnings
from collections.abc import Iterable, Iterator

from migrator.formats._header import CONSTANTS

_BACK = ("downgrade", "verify")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_parts(text: str) -> tuple[str, str]:
    """Return the tree of what the upgrade is made of, and the tree of all the rest. Raises SyntaxError, ValueError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = ast.parse(text)
    _without_layout(module)
    back = [each for each in _functions(module) if each.name in _BACK]
    owners: list[ast.Module | ast.ClassDef] = [
        module,
        *(each for each in module.body if isinstance(each, ast.ClassDef)),
    ]
    for owner in owners:
        owner.body = [each for each in owner.body if each not in back] or [ast.Pass()]
    kept = _needed(module.body)
    beside = [each for each in module.body if each not in kept]
    return _dumped(kept), _dumped([*beside, *sorted(back, key=lambda each: each.name)])


def _dumped(nodes: Iterable[ast.stmt]) -> str:
    return "\n".join(ast.dump(each) for each in nodes)


def _without_layout(module: ast.Module) -> None:
    """Take out docstrings, whose blanks a formatter changes, and the parentheses of `del (a, b)`."""
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | _Function) and _is_text(node.body[:1]):
            node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.Delete):
            node.targets = [part for each in node.targets for part in getattr(each, "elts", [each])]


def _is_text(body: list[ast.stmt]) -> bool:
    match body:
        case [ast.Expr(value=ast.Constant(value=str()))]:
            return True
    return False


def _functions(module: ast.Module) -> Iterator[_Function]:
    """Yield the functions of the module, and the methods of its classes."""
    for node in module.body:
        for each in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(each, _Function):
                yield each


def _needed(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements of a module without those that only the way back uses: helpers, imports, constants."""
    names = {id(each): _defined(each) for each in body}
    optional = [each for each in body if names[id(each)]]
    used = {name for each in body if not names[id(each)] for name in _used(each)}
    needed: set[int] = set()
    while more := [each for each in optional if id(each) not in needed and used & names[id(each)]]:
        needed |= {id(each) for each in more}
        used |= {name for each in more for name in _used(each)}
    return [each for each in body if not names[id(each)] or id(each) in needed]


def _defined(node: ast.stmt) -> set[str]:
    """Return the names that a statement gives to the module, {} for one that counts even where nobody names it."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name not in (
            "upgrade",
            "setup",
            "validate",
            "cleanup",
        ):
            return {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {each.asname or each.name.partition(".")[0] for each in names}
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if name not in CONSTANTS:
            return {name}
    return set()


def _used(node: ast.stmt) -> Iterator[str]:
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name))
