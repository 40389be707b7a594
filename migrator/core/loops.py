"""What a revision's text says of its long changes, read without running it; and who requires them."""

import ast
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches

from migrator.core.errors import ParentMissing
from migrator.core.revision import Direction, Key, Revision

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


def linked(revisions: Mapping[Key, Revision], after: Callable[[Key], set[Key]]) -> dict[Key, tuple[Key, ...]]:
    """Return for each revision with `requires_backfill` those that have the loops which it names.

    A name may have that of another database before it. What is `after` a revision, and the revision itself, are not
    meant. Raises ParentMissing where nobody has such a loop.
    """
    known = {key: one.loops(Direction.UPGRADE) for key, one in revisions.items()}
    asking = [one for one in revisions.values() if one.header.requires_backfill]
    return {
        one.key: tuple(
            dict.fromkeys(
                link for name in one.header.requires_backfill for link in _holders(one, name, known, after(one.key))
            )
        )
        for one in asking
    }


def _holders(revision: Revision, name: str, known: Mapping[Key, tuple[str, ...]], after: set[Key]) -> list[Key]:
    database, _, alone = name.rpartition(":")
    places = {(revision.database, name), (database, alone)}
    earlier = {key: names for key, names in known.items() if key not in after}
    found = [key for key, names in earlier.items() if any((key.database, each) in places for each in names)]
    if not found:
        near = get_close_matches(name, [each for names in earlier.values() for each in names], n=1, cutoff=0.5)
        raise ParentMissing(
            f"{revision.path}: {revision.key} requires the backfill {name}, and no loop before it has that name",
            paths=[revision.path],
            hint=f"Did you mean {near[0]}?"
            if near
            else 'Name the loop in the upgrade() that walks: `ctx.batches(..., name="orders.total")`.',
        )
    return found


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
