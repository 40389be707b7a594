"""Finds plug-ins: every public module of a plug-in folder, and whatever another distribution offers by entry point."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from migrator.core.errors import ConfigError, UsageError


@cache
def names(folder: str) -> tuple[str, ...]:
    """Return the names of the plug-ins in `migrator/<folder>`, sorted."""
    home = Path(__file__).parent / folder
    found = {entry.name.removesuffix(".py") for entry in home.iterdir() if _is_module(entry)}
    return tuple(sorted(found))


def _is_module(entry: Path) -> bool:
    return not entry.name.startswith("_") and (entry.suffix == ".py" or (entry / "__init__.py").exists())


def adapter(scheme: str) -> Any:
    """Return the adapter module for a URL scheme. ConfigError where nobody knows it."""
    for module in _modules("adapters"):
        if scheme in module.SCHEMES:
            return module
    known = sorted({scheme for module in _modules("adapters") for scheme in module.SCHEMES})
    raise ConfigError(f"no adapter knows addresses that begin with {scheme}://", hint="Known: " + ", ".join(known))


def format_of(suffix: str) -> Any | None:
    """Return the format module for a file name ending, None where nobody reads such files."""
    return _formats().get(suffix) or _foreign_formats().get(suffix)


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
    """Return the module that sends messages of this kind, which has `connect`. ConfigError where there is none."""
    known = {name: f"migrator.notifiers.{name}" for name in names("notifiers")}
    module = import_module(known[kind]) if kind in known else _foreign_named("notifiers").get(kind)
    if not hasattr(module, "connect"):
        kinds = [name for name, path in known.items() if hasattr(import_module(path), "connect")]
        raise ConfigError(
            f"there is no kind of notification {kind!r}",
            state="Nothing was changed.",
            hint="Known: " + ", ".join([*kinds, *_foreign_named("notifiers")]),
        )
    return module


@cache
def _formats() -> dict[str, Any]:
    modules = [import_module(f"migrator.formats.{name}") for name in names("formats")]
    return {suffix: module for module in modules for suffix in module.SUFFIXES}


@cache
def _foreign_formats() -> dict[str, Any]:
    return {suffix: module for module in _foreign("formats") for suffix in module.SUFFIXES}


def _modules(folder: str) -> Iterator[Any]:
    for name in names(folder):
        yield import_module(f"migrator.{folder}.{name}")
    yield from _foreign(folder)


def _foreign(folder: str) -> tuple[ModuleType, ...]:
    return tuple(_foreign_named(folder).values())


@cache
def _foreign_named(folder: str) -> dict[str, ModuleType]:
    from importlib.metadata import entry_points  # slow, so only when our own folder has no answer

    return {point.name: point.load() for point in entry_points(group=f"migrator.{folder}")}
