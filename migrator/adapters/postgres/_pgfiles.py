"""libpq's two files: connection services, and passwords."""

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from migrator.core.errors import ConfigError

_FIELD = re.compile(r"((?:\\.|[^:\\])*):", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SYSTEM = (Path("/etc/postgresql-common"), Path("/etc"))
"""Folders of the system's service file, where PGSYSCONFDIR names none."""


def service(where: str, name: str, given: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a connection service. `given` is the path of the file, "" for the usual places.

    Raises ConfigError that names the files if the service is in none of them.
    """
    home = environ.get("HOME", "")
    own = [Path(given)] if given else [Path(home) / ".pg_service.conf"] if home else []
    system = [Path(environ["PGSYSCONFDIR"])] if environ.get("PGSYSCONFDIR") else _SYSTEM
    files = [*own, *(folder / "pg_service.conf" for folder in system)]
    for file in files:
        found = _section(where, file, name)
        if found is not None:
            return found
    raise ConfigError(
        f"{where}: there is no service {name!r} in {', '.join(map(str, files))}",
        state="Nothing was changed.",
        hint="Correct the name (`service` in the address, or PGSERVICE), or the path in PGSERVICEFILE.",
    )


def _section(where: str, file: Path, name: str) -> dict[str, str] | None:
    found: dict[str, str] | None = None
    for number, line in enumerate(_lines(file), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("["):
            if found is not None:
                return found
            found = {} if text == f"[{name}]" else None
        elif found is not None:
            key, equals, value = text.partition("=")
            if not equals or key.strip() in ("service", "servicefile"):
                raise ConfigError(
                    f"{where}: {file}:{number} cannot be used",
                    state="Nothing was changed.",
                    hint="Write parameter=value, of any parameter but service.",
                )
            found[key.strip()] = value.strip()
    return found


def password(file: Path, hosts: tuple[str, ...], port: str, database: str, user: str) -> str | None:
    """Return the password for a server, None if the file has none or others may read it, as libpq does.

    `hosts` are the names under which the server may be written there. A backslash escapes a colon or a backslash.
    """
    try:
        status = file.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return None
    wanted = (hosts, (port,), (database,), (user,))
    for line in _lines(file):
        if not line or line.startswith("#"):
            continue
        raw = list(_fields(line))
        if len(raw) == len(wanted) + 1 and all(
            each == "*" or _plain(each) in allowed for each, allowed in zip(raw, wanted, strict=False)
        ):
            return _plain(raw[-1])
    return None


def _fields(line: str) -> Iterator[str]:
    """Return the five fields as they are written; the last one is the rest of the line."""
    place = 0
    for _ in range(4):
        match = _FIELD.match(line, place)
        if match is None:
            return
        yield match[1]
        place = match.end()
    yield line[place:]


def _plain(field: str) -> str:
    return _ESCAPED.sub(r"\1", field)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
