"""Versioned, verified changes for PostgreSQL and MongoDB, exactly once."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migrator.cli._file import run_cli
    from migrator.config import Config
    from migrator.core.errors import MigratorError
    from migrator.core.release import __version__
    from migrator.core.revision import Script, Validation
    from migrator.runtime.blocking import BlockingMigrator
    from migrator.runtime.migrator import Migrator

__all__ = [
    "BlockingMigrator",
    "Config",
    "Migrator",
    "MigratorError",
    "Script",
    "Validation",
    "__version__",
    "run_cli",
]

_HOMES = {
    "BlockingMigrator": "migrator.runtime.blocking",
    "Config": "migrator.config",
    "Migrator": "migrator.runtime.migrator",
    "MigratorError": "migrator.core.errors",
    "Script": "migrator.core.revision",
    "Validation": "migrator.core.revision",
    "__version__": "migrator.core.release",
    "run_cli": "migrator.cli._file",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `migrator --help` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'migrator' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
