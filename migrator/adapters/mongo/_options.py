"""The address of a MongoDB database, checked before anything connects; every error names the option."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pymongo.errors import PyMongoError
from pymongo.uri_parser import validate_options

from migrator.adapters._files import need_plain_key, need_readable
from migrator.adapters.mongo import DEFAULT_PORT
from migrator.core.errors import ConfigError
from migrator.core.protocols import Finding, Findings
from migrator.core.url import Url

_PRIMARY = "migrator reads from the primary"
_LIMITS = "the timeout of each step applies"
IGNORED: Mapping[str, str] = {
    **dict.fromkeys(("readpreference", "readpreferencetags", "maxstalenessseconds"), _PRIMARY),
    **dict.fromkeys(("timeoutms", "sockettimeoutms"), _LIMITS),
    **dict.fromkeys(("maxpoolsize", "minpoolsize"), "`pool` in migrator.toml applies"),
    "appname": "migrator has a name of its own, by which its commands are found on the server",
}
"""Options of an application that do not apply to a migration, and why."""

FILES = frozenset({"tlscafile", "tlscertificatekeyfile", "tlscrlfile"})
"""Options whose value is the path of a file."""

_KEY, _KEY_PASSWORD = "tlscertificatekeyfile", "tlscertificatekeyfilepassword"
_LEVELS = ("local", "available", "majority", "linearizable", "snapshot")
_FORBIDDEN = frozenset(' ."$/\\\0')
_LONGEST = 63
"""Bytes of a database name."""


def checked(name: str, url: Url) -> Url:
    """Return the address as the driver is to have it. Raises ConfigError; `name` is the configured name."""
    _need_database(name, url.database)
    given = {option.lower(): (option, value) for option, value in url.params}
    _need_files(name, given)
    for option, value in url.params:
        _need_valid(name, option, value)
    level = given.get("readconcernlevel", ("", "local"))[1]
    if level not in _LEVELS:
        raise ConfigError(
            f"{name}: the option readConcernLevel in the address cannot be used: {level!r} is not a valid level",
            state="Nothing was changed.",
            hint=f"Use one of {', '.join(_LEVELS)}.",
        )
    if given.get("w", ("", ""))[1] == "0":
        raise ConfigError(
            f"{name}: w=0 in the address cannot be used: a write that the server refuses would be taken for done",
            state="Nothing was changed.",
            hint="Remove it from the address, or use w=majority.",
        )
    params = tuple((option, value) for option, value in url.params if option.lower() not in IGNORED)
    hosts = url.hosts if url.scheme.endswith("+srv") else _with_ports(url)
    return replace(url, hosts=hosts, params=tuple(_installed(params)))


def ignored(url: Url) -> Findings:
    """Return which options of the address do not apply, for `doctor`."""
    found = [f"{option} ({IGNORED[option.lower()]})" for option, _ in url.params if option.lower() in IGNORED]
    return [Finding("ok", "address", f"ignored: {', '.join(found)}")] if found else []


def need_members(name: str, url: Url, hello: Mapping[str, Any]) -> None:
    """Raise ConfigError if the address asks for more members than the set has; `hello` is a member's answer."""
    wanted = next((value for option, value in url.params if option.lower() == "w"), "")
    members = len(hello.get("hosts", ())) + len(hello.get("passives", ()))
    if wanted.isdecimal() and 0 < members < int(wanted):
        raise ConfigError(
            f"{name}: w={wanted} in the address waits for {wanted} members, but the set has {members} with data",
            state="Nothing was changed.",
            hint="Use w=majority.",
        )


def _need_database(name: str, database: str) -> None:
    if not database:
        raise ConfigError(
            f"{name}: the address names no database",
            hint="name the database in the address: mongodb://host/NAME",
        )
    wrong = sorted(_FORBIDDEN & set(database))
    if wrong or len(database.encode()) > _LONGEST:
        why = f"it contains {wrong[0]!r}" if wrong else f"it is longer than {_LONGEST} bytes"
        raise ConfigError(
            f"{name}: {database!r} is not a valid name of a MongoDB database: {why}",
            state="Nothing was changed.",
            hint="Correct the name in the address: mongodb://host/NAME",
        )


def _need_valid(name: str, option: str, value: str) -> None:
    """Check one option; the value is not repeated, because it may be a secret."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error" if option.lower() != "compressors" else "ignore", UserWarning)
            validate_options({option: value})
    except (PyMongoError, ValueError, TypeError, UserWarning) as error:
        text = str(error)
        unknown = "Unknown option" in text
        raise ConfigError(
            f"{name}: unknown option {option} in the address"
            if unknown
            else f"{name}: the option {option} in the address cannot be used: {text.replace(value, '***')}",
            state="Nothing was changed.",
            hint="Correct or remove it; the options are those of pymongo's MongoClient.",
        ) from error


def _installed(params: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Leave out the compressors whose modules are not installed: the application may have them, and none is needed."""
    for option, value in params:
        found = value
        if option.lower() == "compressors":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                found = ",".join(validate_options({option: value})[option.lower()])
        if found or not value:
            yield option, found


def _need_files(name: str, given: Mapping[str, tuple[str, str]]) -> None:
    for each in FILES & set(given):
        need_readable(f"{name}: {given[each][0]} in the address", given[each][1])
    if _KEY in given and _KEY_PASSWORD not in given:
        need_plain_key(f"{name}: {given[_KEY][0]} in the address", given[_KEY][1], "tlsCertificateKeyFilePassword")


def _with_ports(url: Url) -> tuple[tuple[str, int], ...]:
    hosts = url.hosts or (("localhost", 0),)
    return tuple((host, port if host.startswith("/") else port or DEFAULT_PORT) for host, port in hosts)
