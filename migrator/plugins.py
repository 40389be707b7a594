"""Finds plug-ins: every public module of a plug-in folder, and what other distributions offer by entry point.

The name of an entry point says what it is for: the scheme of an address, the ending of a file, the kind of a
notification, the word of a command. So only the one that is asked for is imported; where no name fits, those of the
group are tried one by one. One that cannot be imported stands in nobody's way but its own.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrator.core.errors import ConfigError, DependencyMissing, MigratorError, UsageError
from migrator.core.protocols import Finding

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

INTERFACE = 1
"""The version of what a plug-in and migrator expect of each other; a plug-in says its own as `INTERFACE`."""

GROUPS = ("adapters", "formats", "notifiers", "commands")
"""What can be added; the groups of entry points are `migrator.adapters` and so on."""

_UNCHANGED = "Nothing was changed."


@cache
def names(folder: str) -> tuple[str, ...]:
    """Return the names of the plug-ins in `migrator/<folder>`, sorted."""
    home = Path(__file__).parent / folder
    found = {entry.name.removesuffix(".py") for entry in home.iterdir() if _is_module(entry)}
    return tuple(sorted(found))


def _is_module(entry: Path) -> bool:
    return not entry.name.startswith("_") and (entry.suffix == ".py" or (entry / "__init__.py").exists())


def adapter(scheme: str) -> Any:
    """Return the adapter module for a URL scheme. Raises ConfigError, DependencyMissing."""
    own = [import_module(f"migrator.adapters.{name}") for name in names("adapters")]
    wanted = {scheme, scheme.partition("+")[0]}  # SQLAlchemy's addresses name a driver: postgresql+asyncpg
    found = next((each for each in own if wanted.intersection(each.SCHEMES)), None)
    found = found or _foreign("adapters", scheme, lambda module: scheme in module.SCHEMES)
    if found is None:
        known = sorted({each for module in own for each in module.SCHEMES} | _foreign_names("adapters"))
        raise ConfigError(
            f"no adapter knows addresses that begin with {scheme}://",
            hint=f"Known: {', '.join(known)}.{_broken('adapters')}",
        )
    return found


def adapter_of_kind(kind: str) -> Any:
    """Return the adapter module for a kind of database, such as `postgres`. Raises UsageError, DependencyMissing."""
    own = [import_module(f"migrator.adapters.{name}") for name in names("adapters")]
    found = next((each for each in own if kind == each.KIND), None)
    found = found or _foreign("adapters", kind, lambda module: kind == module.KIND)
    if found is None:
        known = sorted({each.KIND for each in own} | _foreign_names("adapters"))
        raise UsageError(
            f"there is no kind of database {kind!r}",
            state=_UNCHANGED,
            hint=f"Known: {', '.join(known)}.{_broken('adapters')}",
        )
    return found


@cache
def format_of(suffix: str) -> Any | None:
    """Return the format module for a file name ending, None where none reads such files. Raises DependencyMissing."""
    found = _formats().get(suffix)
    return found or _foreign("formats", suffix.removeprefix("."), lambda module: suffix in module.SUFFIXES)


def format_named(name: str) -> Any:
    """Return a format module by its name. UsageError where there is none."""
    if name not in names("formats"):
        raise UsageError(f"there is no revision format {name!r}", hint="Known: " + ", ".join(names("formats")))
    return import_module(f"migrator.formats.{name}")


def server(name: str) -> Any:
    """Return the module that starts an embedded server. ConfigError where there is none of that name."""
    if name not in names("servers"):
        known = ", ".join(f"embedded:{each}" for each in names("servers"))
        raise ConfigError(f"there is no embedded server {name!r}", hint=f"Known: {known}")
    return import_module(f"migrator.servers.{name}")


def channel(kind: str) -> Any:
    """Return the module that sends messages of this kind, with its `connect`. Raises ConfigError, DependencyMissing."""
    own = kind in names("notifiers")
    module = import_module(f"migrator.notifiers.{kind}") if own else _foreign("notifiers", kind)
    if not hasattr(module, "connect"):
        ours = [name for name in names("notifiers") if hasattr(import_module(f"migrator.notifiers.{name}"), "connect")]
        raise ConfigError(
            f"there is no kind of notification {kind!r}",
            state=_UNCHANGED,
            hint="Known: " + ", ".join([*ours, *sorted(_foreign_names("notifiers"))]),
        )
    return module


def command(name: str) -> Any | None:
    """Return a command of another distribution, a `click.Command`; None where there is none. Raises as `channel`."""
    return _foreign("commands", name)


def findings() -> tuple[Finding, ...]:
    """Import every plug-in of other distributions, and return one finding for each, for `migrator doctor`."""
    return tuple(_finding(group, point) for group in GROUPS for point in _points(group))


def _finding(group: str, point: "EntryPoint") -> Finding:
    subject = f"{group[:-1]} {point.name}"
    taken = names("cli" if group == "commands" else group)
    if point.name in taken or sum(each.name == point.name for each in _points(group)) > 1:
        text = f"{_told(point)} is not used: there is another {subject}"
        return Finding("warn", subject, text, "Uninstall one of the two.")
    try:
        _loaded(point)
    except (DependencyMissing, ConfigError) as error:
        return Finding("warn", subject, error.message, error.hint)
    return Finding("ok", subject, _told(point))


@cache
def _formats() -> dict[str, Any]:
    modules = [import_module(f"migrator.formats.{name}") for name in names("formats")]
    return {suffix: module for module in modules for suffix in module.SUFFIXES}


def _foreign(group: str, name: str, fits: Callable[[Any], bool] = lambda _: False) -> Any | None:
    """Return the plug-in of another distribution with this name, or else the one that fits; None where none does.

    Raises ConfigError where there are several, DependencyMissing where the one of this name cannot be imported.
    """
    found = [point for point in _points(group) if point.name == name]
    if not found and name:
        fitting = {id(module): point for point in _points(group) if (module := _tried(point)) and fits(module)}
        found = list(fitting.values())
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} distributions bring the same {group[:-1]} {name!r}: {', '.join(map(_told, found))}",
            state=_UNCHANGED,
            hint="Uninstall all of them but one.",
        )
    return _loaded(found[0]) if found else None


def _foreign_names(group: str) -> set[str]:
    return {point.name for point in _points(group)}


def _broken(group: str) -> str:
    """Return, behind a hint, which plug-ins of a group could not be imported: the one that is missing may be there."""
    found = [_KNOWN.get(point) for point in _points(group)]
    return "".join(f" But {error.message}." for error in found if isinstance(error, MigratorError))


@cache
def _points(group: str) -> "Sequence[EntryPoint]":
    from importlib.metadata import entry_points  # slow, so only when our own folder has no answer

    return tuple(entry_points(group=f"migrator.{group}"))


_KNOWN: "dict[EntryPoint, Any]" = {}
"""What each entry point led to: the plug-in, or the error; an import is not tried twice."""


def _tried(point: "EntryPoint") -> Any | None:
    try:
        return _loaded(point)
    except (DependencyMissing, ConfigError):
        return None


def _loaded(point: "EntryPoint") -> Any:
    if point not in _KNOWN:
        try:
            _KNOWN[point] = _checked(point, point.load())
        except (DependencyMissing, ConfigError) as error:
            _KNOWN[point] = error
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a module does when it is imported
            missing = DependencyMissing(
                f"the plug-in {_told(point)} cannot be imported: {type(error).__name__}: {error}",
                state=_UNCHANGED,
                hint=f"Repair or uninstall {_distribution(point)}.",
            )
            missing.__cause__ = error
            _KNOWN[point] = missing
    found = _KNOWN[point]
    if isinstance(found, Exception):
        raise found
    return found


def _checked(point: "EntryPoint", module: Any) -> Any:
    version = getattr(module, "INTERFACE", INTERFACE)
    if version != INTERFACE:
        raise ConfigError(
            f"the plug-in {_told(point)} is for version {version} of the plug-in interface, and this is {INTERFACE}",
            state=_UNCHANGED,
            hint=f"Install a release of {_distribution(point)} that fits this release of polymigrator.",
        )
    return module


def _told(point: "EntryPoint") -> str:
    version = f" {point.dist.version}" if point.dist else ""
    return f"{point.name} ({point.value}) of the distribution {_distribution(point)}{version}"


def _distribution(point: "EntryPoint") -> str:
    return point.dist.name if point.dist else "of that name"
