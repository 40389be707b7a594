"""The header of any Python revision by `ast`, with a line for whatever is wrong. Runs no code of the file."""

import ast
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

from migrator.core.errors import RevisionFileError
from migrator.core.revision import Header
from migrator.formats._header import AROUND, CONSTANTS, FUNCTIONS, HeaderError, closest, header_of, misspelt

_KNOWN = FUNCTIONS + AROUND
_TOP_LEVEL_HINT = "Write it as a plain statement that starts in the first column, with a literal value."
_NEW_HINT = 'Let `migrator new "what it does"` write one.'
_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


def parse(text: str, path: str) -> Header:
    """Return the header of a Python revision. Raises RevisionFileError."""
    reader = _Reader(path)
    module = reader.module(text)
    for node in module.body:
        reader.statement(node)
    functions = reader.functions()
    try:
        return header_of(reader.values, functions, _description(module), path)
    except HeaderError as error:
        line = reader.lines.get(error.key)
        raise RevisionFileError(error.message, path=path, line=line, hint=error.hint) from error


def script_class(text: str) -> str | None:
    """Return the name of the class that stands in place of functions, for a text that `parse` accepted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        body = ast.parse(text).body
    return next((node.name for node in body if isinstance(node, ast.ClassDef) and _is_script(node)), None)


class _Reader:
    """What one module defines, and where."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self.lines: dict[str, int] = {}
        self.defined: dict[str, int] = {}
        self.scripts: list[ast.ClassDef] = []
        self.others: list[str] = []

    def refuse(self, message: str, line: int | None, hint: str) -> NoReturn:
        """Raise the error of this file."""
        raise RevisionFileError(message, path=self.path, line=line, hint=hint)

    def module(self, text: str) -> ast.Module:
        """Return the syntax tree."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a warning about "\d" is for `load`, which shows it once
                return ast.parse(text)
        except SyntaxError as error:
            raise syntax_error(error, self.path) from error
        except (ValueError, RecursionError, MemoryError) as error:
            message = f"Python cannot read this file: {str(error) or type(error).__name__}"
            raise RevisionFileError(message, path=self.path, hint="Simplify it: it is nested too deeply.") from error

    def statement(self, node: ast.stmt) -> None:
        """Take in one statement of the module."""
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.constant(name, value, node.lineno)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self.constant(name, value, node.lineno)
            case ast.AsyncFunctionDef(name=name) | ast.FunctionDef(name=name):
                self.function(node)
                self.others.append(name)
            case ast.ClassDef() if _is_script(node):
                self.scripts.append(node)
            case _:
                self.no_bindings(node)

    def constant(self, name: str, value: ast.expr, line: int) -> None:
        """Take in `name = value`."""
        if name in _KNOWN:
            self.refuse(f"{name} is no function", line, f"Write `async def {name}(ctx)`.")
        try:
            literal = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            if name in CONSTANTS:
                hint = "Write the value itself: it is read without running the file."
                self.refuse(f"{name} is not a literal", line, hint)
            return
        if name in CONSTANTS:
            if name in self.lines:
                self.refuse(f"{name} is set twice, first on line {self.lines[name]}", line, "Remove one of them.")
            self.values[name], self.lines[name] = literal, line
        elif name.islower() and not name.startswith("_"):
            self.near_miss(name, line)

    def near_miss(self, name: str, line: int) -> None:
        """Refuse a constant whose name was probably meant to be another."""
        if meant := closest(name, CONSTANTS):
            hint = f"Did you mean {meant}? A constant of your own is written in capitals: {name.upper()}."
            self.refuse(f"{name} is not a constant of a revision", line, hint)

    def function(self, node: ast.AsyncFunctionDef | ast.FunctionDef) -> None:
        """Take in a function of the module or a method of its Script class."""
        if node.name not in _KNOWN:
            return
        if isinstance(node, ast.FunctionDef):
            self.refuse(f"{node.name} is a plain function", node.lineno, f"Write `async def {node.name}`.")
        if node.name in self.defined:
            first = self.defined[node.name]
            self.refuse(f"{node.name} is defined twice, first on line {first}", node.lineno, "Remove one of them.")
        self.defined[node.name] = node.lineno

    def no_bindings(self, node: ast.AST) -> None:
        """Refuse a statement of another kind that gives a value to a name of ours: what it gives cannot be read."""
        for name, line in _bindings(node):
            if name in CONSTANTS or name in _KNOWN:
                self.refuse(f"{name} cannot be read where it is written", line, _TOP_LEVEL_HINT)

    def functions(self) -> list[str]:
        """Return the names of the functions, from the module or from its one Script class."""
        if self.scripts:
            self.methods()
        if not self.others and not self.scripts and not self.values:
            self.refuse("this is no revision: no constants, no functions", None, _NEW_HINT)
        if "upgrade" not in self.defined:
            meant = closest("upgrade", self.others)
            hint = f"Is {meant} meant to be upgrade?" if meant else "Write `async def upgrade(ctx)`."
            self.refuse("there is no upgrade function", None, hint)
        for name in FUNCTIONS:
            if name not in self.defined and (meant := misspelt(name, self.others)):
                self.refuse(f"there is a function {meant} and no {name}", None, f"Is {meant} meant to be {name}?")
        return list(self.defined)

    def methods(self) -> None:
        """Take in the methods of the Script class, which must be alone."""
        script, *more = self.scripts
        if self.defined:
            name, line = next(iter(self.defined.items()))
            self.refuse(f"there is a function {name} beside the class {script.name}", line, "Keep one of the two.")
        if more:
            message = f"{more[0].name} is a second Script class, after {script.name} on line {script.lineno}"
            self.refuse(message, more[0].lineno, "Keep one of the two; a file is one revision.")
        for node in script.body:
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
                self.function(node)
                self.others.append(node.name)


def syntax_error(error: SyntaxError, path: str) -> RevisionFileError:
    """Return the error for a text that is not Python."""
    shown = (error.text or "").strip()
    hint = f"Look at: {shown}" if shown else "Look at this line and the one before it."
    return RevisionFileError(f"this is not Python: {error.msg}", path=path, line=error.lineno, hint=hint)


def _is_script(node: ast.ClassDef) -> bool:
    return any(getattr(base, "id", None) == "Script" or getattr(base, "attr", None) == "Script" for base in node.bases)


def _description(module: ast.Module) -> str:
    match module.body:
        case [ast.Expr(value=ast.Constant(value=str() as text)), *_]:
            return text
    return ""


def _bindings(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the names that a statement binds in the module's own scope, with their lines."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name, node.lineno
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name, node.lineno
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            for alias in names:
                yield (alias.asname or alias.name.partition(".")[0]), node.lineno
        case ast.ExceptHandler(name=str() as name):
            yield name, node.lineno
    if not isinstance(node, _SCOPES):
        for child in ast.iter_child_nodes(node):
            yield from _bindings(child)
