"""The statements of queries.sql by name, with their values quoted into the text.

The simple protocol carries several statements in one round trip, but no arguments; so the tracker's values are
quoted here, by the rules of "String Constants" in PostgreSQL's manual (4.1.2).
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_NAMED = re.compile(r"^-- name: (\w+)\n(?:--[^\n]*\n)*", re.MULTILINE)
_VALUE = re.compile(r"(?<!:):([a-z_]+)")
VERSION = 2
"""Of the tables, which `layout.sql` makes. A newer one is refused."""

TABLES = {
    "{tracker}": "script_run_tracker",
    "{lock}": "script_run_lock",
    "{checkpoint}": "script_run_checkpoint",
    "{control}": "script_run_control",
    "{failures}": "script_run_failures",
    "{schedule}": "script_run_schedule",
    "{audit}": "script_run_audit",
    "{token}": "script_run_token",
}
"""Every table that migrator creates."""

FIRST = {
    "{lock}": "migrator_lock",
    "{schedule}": "script_schedule",
    "{audit}": "script_audit",
    "{token}": "script_token",
}
"""What version 1 called some of them."""

_MARK = re.compile("|".join(map(re.escape, [*TABLES, "{schema}"])))


@cache
def texts(file: str = "queries.sql") -> Mapping[str, str]:
    """Return the statements of a file by name."""
    text = Path(__file__).with_name(file).read_text("utf-8")
    names = list(_NAMED.finditer(text))
    ends = [match.start() for match in names[1:]] + [len(text)]
    return {match[1]: text[match.end() : end].strip() for match, end in zip(names, ends, strict=True)}


class Queries:
    """The statements for the tables of one schema, by their names in one version."""

    def __init__(self, schema: str, version: int = VERSION) -> None:
        self.move(schema, version)

    def move(self, schema: str, version: int) -> None:
        """Let the statements be those for another place from here on."""
        self.schema = schema
        names = {**TABLES, **(FIRST if version < 2 else {})}  # noqa: PLR2004 - the version that renamed them
        quoted = identifier(schema)
        self._tables = {mark: f"{quoted}.{table}" for mark, table in names.items()} | {"{schema}": quoted}
        self._ready: dict[str, list[str]] = {}
        self._arguments: dict[str, tuple[str, ...]] = {}

    def table(self, mark: str) -> str:
        """Return the full name of a table by its mark, such as `{tracker}`."""
        return self._tables[mark]

    def text(self, name: str, values: Mapping[str, Any] | None = None) -> str:
        """Return one statement with its values in place. KeyError where a value is missing."""
        parts = self._ready.get(name) or self._prepare(name)
        if len(parts) == 1:
            return parts[0]
        known = values or {}
        return "".join(part if index % 2 == 0 else literal(known[part]) for index, part in enumerate(parts))

    def prepare(self, name: str) -> str:
        """Return the text that lets the server plan a statement once for this connection."""
        names = self._names(name)
        parts = self._ready[name]
        numbered = (part if index % 2 == 0 else f"${names.index(part) + 1}" for index, part in enumerate(parts))
        return f"PREPARE migrator_{name} AS {''.join(numbered)}"

    def execute(self, name: str, values: Mapping[str, Any]) -> str:
        """Return the text that runs a prepared statement."""
        return f"EXECUTE migrator_{name}({', '.join([literal(values[each]) for each in self._names(name)])})"

    def _names(self, name: str) -> tuple[str, ...]:
        if name not in self._arguments:
            self._prepare(name)
            self._arguments[name] = tuple(dict.fromkeys(self._ready[name][1::2]))
        return self._arguments[name]

    def _prepare(self, name: str) -> list[str]:
        text = texts().get(name) or texts("layout.sql")[name]
        parts = _VALUE.split(text)  # before the tables: a schema's name may hold anything
        self._ready[name] = [_MARK.sub(lambda mark: self._tables[mark[0]], part) for part in parts]
        return self._ready[name]


def decoded(value: Any) -> Any:
    """Return a JSON value of the server; while SQLAlchemy is on the connection, it has decoded it already."""
    return json.loads(value) if isinstance(value, str) else value


def literal(value: Any) -> str:
    """Return a value as an SQL literal. Text loses its NULs, which PostgreSQL cannot store."""
    if isinstance(value, str):
        text = value.replace("\0", "").replace("'", "''")
        return "E'" + text.replace("\\", "\\\\") + "'" if "\\" in text else f"'{text}'"
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return literal(json.dumps(value, default=str))
    if isinstance(value, list):
        return "ARRAY[" + ", ".join(literal(each) for each in value) + "]::text[]"
    raise TypeError(f"a {type(value).__name__} has no place in the tracker")


def identifier(name: str) -> str:
    """Return a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
