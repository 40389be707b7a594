"""`[logs]` and `[retention]` of migrator.toml: as they are written, and checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from migrator.core import environ as variables
from migrator.core.errors import ConfigError
from migrator.core.retention import Retention

LONGEST_DAYS = 36_500
"""A hundred years: what goes further back than a calendar can tell is a mistake."""


class LogsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[logs]`: the `folder` of the log files of runs ("" for none), their `format`, and the least `level` in them.

    A file that has reached `max_bytes` is compressed, and the log goes on in a new one.
    """

    folder: str = "logs"
    format: Literal["text", "json"] = "text"
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    max_bytes: int = 10 << 20


class RetentionTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[retention]`: what `migrator cleanup` keeps; see `core.retention.Retention`."""

    keep_days: int = 30
    keep_last: int = 10
    log_days: int = 14
    failed_days: int = 90
    max_bytes: int = 1 << 30


class Logs(msgspec.Struct, frozen=True):
    """How the log files of runs are written. `folder` is None where there are to be none."""

    folder: Path | None = None
    format: str = "text"
    level: str = "INFO"
    max_bytes: int = 10 << 20


def logs(table: LogsTable, root: Path) -> Logs:
    """Return what `[logs]` says. Raises ConfigError."""
    if table.max_bytes < 1024:  # noqa: PLR2004 - a line or two must go into a file
        raise ConfigError(f"logs.max_bytes is {table.max_bytes}, and at least 1024 are needed")
    return Logs(root / table.folder if table.folder else None, table.format, table.level, table.max_bytes)


def retention(table: RetentionTable, env: Mapping[str, str]) -> Retention:
    """Return what `[retention]` and RETENTION_DAYS say. Raises ConfigError."""
    for name, value in msgspec.structs.asdict(table).items():
        if value < 0:
            raise ConfigError(f"retention.{name} is {value}, and cannot be negative")
        if name.endswith("_days") and value > LONGEST_DAYS:
            raise ConfigError(f"retention.{name} is {value}, and {LONGEST_DAYS} are the most")
    days = variables.text(env, "RETENTION_DAYS")
    if days and not (days.isascii() and days.isdigit() and int(days) <= LONGEST_DAYS):
        raise ConfigError("RETENTION_DAYS is not a number of days", hint="For example: RETENTION_DAYS=30")
    return Retention(**{**msgspec.structs.asdict(table), **({"keep_days": int(days)} if days else {})})
