"""Revisions in Python: constants at the top, three `async` functions or a Script class."""

from types import ModuleType

from migrator.core.errors import DependencyMissing, RevisionFileError
from migrator.core.revision import Header, Script
from migrator.formats._scan import scan
from migrator.formats._text import one_line, refuse_empty, unix_lines

SUFFIXES: tuple[str, ...] = (".py",)

_LONG_LINE = 88


def read(text: str, path: str) -> Header:
    """Return what the constants of a file say, without running it.

    Raises RevisionFileError, with the line where there is one. An ordinary file is not parsed as a whole: a syntax
    error inside one of its functions is reported by `load`.
    """
    plain = unix_lines(text)
    header = scan(plain, path)
    if header is not None:
        return header
    from migrator.formats._tree import parse

    refuse_empty(plain, path)
    return parse(plain, path)


def load(text: str, path: str) -> Script:
    """Run the text as a module of its own and return its functions; `path` is for messages and need not exist.

    Raises RevisionFileError where the text is no revision or where running it fails, with the line of the text; what
    the module raised is the cause. DependencyMissing passes through.
    """
    plain = unix_lines(text)
    header = read(plain, path)
    module = _run(plain, path)
    if _defined(module, "upgrade"):
        script = Script.of({name: getattr(module, name) for name in header.functions})
    else:
        script = _instance(module, plain, path)
    if _defined(module, "Params"):
        vars(script)["Params"] = _params(module, path)
    vars(script)["forgotten"] = _forgotten(plain)
    return script


def parts(text: str) -> tuple[str, str]:
    """Return what upgrades and what only takes back or verifies, without comments and layout.

    Texts that are equal do the same. Raises SyntaxError or ValueError for a text that is not Python.
    """
    from migrator.formats._parts import python_parts

    return python_parts(unix_lines(text))


def template(
    *,
    revision: str,
    title: str,
    down_revision: tuple[str, ...],
    adapter: str,
    labels: tuple[str, ...] = (),
    commits_alone: bool = False,
) -> str:
    """Return the text of a new revision, whose functions fail until they are written.

    `adapter` is the module from which its Context is imported; `commits_alone` says that each statement commits by
    itself there, unless the revision asks for a transaction.
    """
    docstring = one_line(title, revision).replace("\\", "\\\\").replace('"""', r"\"\"\"")
    if docstring.endswith('"'):
        docstring += "."
    constants = [f'revision = "{revision}"', f"down_revision = {_names(down_revision)}"]
    if labels:
        constants.append(f"branch_labels = {_names(labels)}")
    if commits_alone:
        constants.append("transaction = False  # each statement commits alone: make it safe to repeat")
    head = f'"""{docstring}"""\n\nfrom {adapter} import Context\n\n' + "\n".join(constants) + "\n"
    return head + "".join(
        f"\n\nasync def {name}(ctx: Context) -> {returned}:\n"
        f'    raise NotImplementedError("write the {name} of {revision}")\n'
        for name, returned in (("upgrade", "None"), ("downgrade", "None"), ("verify", "bool"))
    )


def _names(names: tuple[str, ...]) -> str:
    """Return the literal for some ids, as a formatter would leave it."""
    quoted = [f'"{name}"' for name in names]
    if len(quoted) < 2:  # noqa: PLR2004 - one name stands alone, as in Alembic
        return quoted[0] if quoted else "None"
    line = f"({', '.join(quoted)})"
    return line if len(line) < _LONG_LINE - len("down_revision = ") else "(\n    " + ",\n    ".join(quoted) + ",\n)"


def _defined(module: ModuleType, name: str) -> bool:
    return name in vars(module)


def _run(text: str, path: str) -> ModuleType:
    """Run a text as a module that dataclasses and pickle can find by its name, in other processes too."""
    import sys

    from migrator.formats._loaded import execute, name_of

    module = ModuleType(name_of(text, path))
    sys.modules[module.__name__] = module
    try:
        execute(module, text, path)
    except BaseException as error:
        del sys.modules[module.__name__]
        refused = _refused(error, path)
        if refused is None:
            raise
        raise refused from error
    return module


def _refused(error: BaseException, path: str) -> RevisionFileError | None:
    """Return our error for what a module raised, None for what has to pass through."""
    if isinstance(error, DependencyMissing | KeyboardInterrupt):
        return None
    if isinstance(error, SyntaxError) and error.filename == path:
        from migrator.formats._tree import syntax_error

        return syntax_error(error, path)
    hint = "Constants and imports run when the file is loaded; what touches a database belongs in a function."
    if isinstance(error, ModuleNotFoundError) and error.name:
        name = error.name.partition(".")[0]
        hint = (
            f"Install {name}; or, where it is a module of the project, name its folder in migrator.toml: "
            'path = ["."] is the folder of migrator.toml itself.'
        )
    what = f"{type(error).__name__}: {error}".removesuffix(": ")
    return RevisionFileError(f"the file cannot be loaded: {what}", path=path, line=_line(error, path), hint=hint)


def _line(error: BaseException, path: str) -> int | None:
    """Return the last line of the file that was running when it failed."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == path), None)


def _forgotten(text: str) -> dict[str, tuple[int, str]]:
    """Return the calls in a text, which Python has accepted, that lack an `await`."""
    import ast
    import warnings

    from migrator.formats._awaits import forgotten

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python has shown them
        return forgotten(ast.parse(text))


def _params(module: ModuleType, path: str) -> type:
    """Return the type of the script's parameters."""
    from dataclasses import is_dataclass

    found = module.Params
    if isinstance(found, type) and (is_dataclass(found) or hasattr(found, "__struct_fields__")):
        return found
    hint = "Write `@dataclass class Params:` or `class Params(msgspec.Struct):`."
    raise RevisionFileError("Params is neither a dataclass nor a msgspec.Struct", path=path, hint=hint)


def _instance(module: ModuleType, text: str, path: str) -> Script:
    """Return an object of the Script class in a module."""
    from migrator.formats._tree import script_class

    cls = getattr(module, script_class(text) or "", None)
    if not (isinstance(cls, type) and issubclass(cls, Script)):
        hint = "Write `from migrator import Script`, and do not delete or replace the class in the file."
        raise RevisionFileError("its class is no migrator.Script after the file was run", path=path, hint=hint)
    try:
        return cls()
    except (Exception, SystemExit) as error:
        message = f"{cls.__name__}() cannot be made: {type(error).__name__}: {error}"
        raise RevisionFileError(message, path=path, line=_line(error, path), hint="It takes no arguments.") from error
