"""A PostgreSQL address as libpq reads it: the address, then the service, then the environment, then the defaults."""

import getpass
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from migrator.adapters._files import need_plain_key, need_readable
from migrator.adapters.postgres import _params as known
from migrator.adapters.postgres._pgfiles import password, service
from migrator.core.errors import ConfigError
from migrator.core.url import Url

DEFAULT_PORT = 5432
_KNOWN = [*known.HONOURED, *known.IGNORED, *known.HARMLESS]
_FILES = ("sslcert", "sslkey", "sslrootcert", "sslcrl")
_LEAST = 2.0
"""Seconds of the shortest connect_timeout, as in libpq."""


@dataclass(frozen=True)
class Host:
    """One place to try. `name` is a host, an address, or the folder of a socket, "" for the usual places."""

    name: str
    port: int
    options: Mapping[str, Any] = field(repr=False)
    """What `asyncpg.connect` takes, the password included."""

    def __str__(self) -> str:
        """Return it for a person."""
        return f"{self.name or 'localhost'}:{self.port}"


@dataclass(frozen=True)
class Address:
    """Where a database is. `connect_timeout` is in seconds for each host, None where nothing is said.

    `ignored` and `warned` are the parameters that have no effect, each with the reason.
    """

    hosts: tuple[Host, ...]
    database: str
    connect_timeout: float | None = None
    shuffled: bool = False
    prefers_standby: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()


def read(name: str, url: Url, environ: Mapping[str, str]) -> Address:
    """Read an address; `name` is the configured name, for messages. Raises ConfigError; connects nothing."""
    where = f"{name}: the address"
    params = dict(_layers(where, url, environ))
    for each, value in params.items():
        _need_known(where, each, value)
    _need_files(where, params)
    if "user" not in params:
        params["user"] = _user(where)
    params.setdefault("dbname", params["user"])
    settings = {each: value for each, value in params.items() if not _is_known(each)}
    if params.get("options"):
        settings["options"] = params["options"]
    attribute = params.get("target_session_attrs", "any")
    return Address(
        hosts=_hosts(where, params, environ),
        database=params["dbname"],
        connect_timeout=_timeout(where, params.get("connect_timeout", "")),
        shuffled=params.get("load_balance_hosts") == "random",
        prefers_standby=attribute == "prefer-standby",
        settings=settings,
        ignored=tuple(f"{each} ({known.IGNORED[each]})" for each in params if each in known.IGNORED),
        warned=tuple(
            f"{each}={params[each]} ({why})"
            for each, why in known.WARNED.items()
            if params.get(each, known.HARMLESS[each][0]) not in known.HARMLESS[each]
        ),
    )


def shown(url: Url, address: Address) -> str:
    """Return the address for a person, with the hosts that a service or the environment gave."""
    hosts = url.hosts or tuple((host.name or "localhost", host.port) for host in address.hosts)
    return str(replace(url, hosts=hosts, database=address.database))


def _layers(where: str, url: Url, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return the parameters; the later ones count over the earlier ones."""
    outer = {param: environ[name] for name, param in known.ENVIRONMENT.items() if environ.get(name)}
    own = {"user": url.user, "password": url.password, "dbname": url.database}
    own |= {"host": ",".join(host for host, _ in url.hosts)}
    own |= {"port": ",".join(str(port or "") for _, port in url.hosts)} if any(port for _, port in url.hosts) else {}
    inner = {each: value for each, value in own.items() if value} | dict(_named(url.params))
    named = inner.get("service") or outer.get("service", "")
    file = inner.get("servicefile") or outer.get("servicefile", "")
    middle = dict(_named(tuple(service(where, named, file, environ).items()))) if named else {}
    if "host" in inner or "host" in middle:  # an address from the environment would lead to another server
        outer.pop("hostaddr", None)
    yield from {**outer, **middle, **inner}.items()


def _named(params: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    for name, value in params:
        yield known.ALIASES.get(name, name), known.ALIAS_VALUES.get(name, {}).get(value.lower(), value)


def _is_known(name: str) -> bool:
    return name in _KNOWN


def _need_known(where: str, name: str, value: str) -> None:
    near = [] if _is_known(name) else _near(name)
    if near:
        raise ConfigError(
            f"{where}: unknown parameter {name}", state="Nothing was changed.", hint=f"Did you mean {near[0]}?"
        )
    choices = known.CHOICES.get(name)
    if choices and value not in choices:
        raise ConfigError(
            f"{where}: {name} is {value!r}, which is not one of {', '.join(choices)}",
            state="Nothing was changed.",
            hint=f"Correct {name} in the address, in the service, or in the environment.",
        )
    if name in known.HARMLESS and name not in known.WARNED and value.lower() not in known.HARMLESS[name]:
        raise ConfigError(
            f"{where}: {name} is set, and asyncpg, the driver, cannot do what it asks for",
            state="Nothing was changed.",
            hint=f"Remove {name} from the address, the service, or the environment.",
        )


def _near(name: str) -> list[str]:
    """Return the parameter that a misspelled name resembles; other unknown names are settings of the server."""
    from difflib import get_close_matches  # rarely needed

    return get_close_matches(name.lower(), _KNOWN, n=1, cutoff=0.9)


def _timeout(where: str, text: str) -> float | None:
    try:
        seconds = int(text or 0)
    except ValueError:
        raise ConfigError(
            f"{where}: connect_timeout is {text!r}, which is not a number of seconds",
            state="Nothing was changed.",
            hint="Write connect_timeout=10.",
        ) from None
    return max(float(seconds), _LEAST) if seconds > 0 else None


def _need_files(where: str, params: Mapping[str, str]) -> None:
    """Raise ConfigError that names a certificate or a key that cannot be used."""
    given = {each: params[each] for each in _FILES if params.get(each)}
    if given.get("sslrootcert") == "system":
        del given["sslrootcert"]
    for each, path in given.items():
        need_readable(f"{where}: {each}", path)
    if "sslkey" in given and not params.get("sslpassword"):
        need_plain_key(f"{where}: {given['sslkey']}", given["sslkey"], "sslpassword")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        for each in ("sslrootcert", "sslcrl"):
            if each in given:
                context.load_verify_locations(given[each])
        if "sslcert" in given:
            context.load_cert_chain(given["sslcert"], given.get("sslkey"), lambda: params.get("sslpassword", ""))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"{where}: the certificates or the key cannot be used: {', '.join(given.values())}: {error}",
            state="Nothing was changed.",
            hint="Each must be a file in PEM form, and the key must belong to the certificate.",
        ) from error


def _hosts(where: str, params: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Host, ...]:
    names, addresses, ports = (params.get(each, "").split(",") for each in ("host", "hostaddr", "port"))
    count = max(len(names), len(addresses))
    for each, found in (("host", names), ("hostaddr", addresses), ("port", ports)):
        if len(found) != count and params.get(each) and not (each == "port" and len(found) == 1):
            raise ConfigError(
                f"{where}: it has {count} hosts and {len(found)} values of {each}",
                state="Nothing was changed.",
                hint="Give one value for each host, or one port for all.",
            )
    if any(addresses) and addresses != names and params.get("sslmode") == "verify-full":
        raise ConfigError(
            f"{where}: the driver cannot check the name of a server (sslmode=verify-full) that hostaddr leads to",
            state="Nothing was changed.",
            hint="Remove hostaddr, or use sslmode=verify-ca.",
        )
    wide = [found * count if len(found) == 1 else found for found in (names, addresses, ports)]
    return tuple(_host(where, name, address, port, params, environ) for name, address, port in zip(*wide, strict=True))


def _host(
    where: str, name: str, address: str, port: str, params: Mapping[str, str], environ: Mapping[str, str]
) -> Host:
    number = _port(where, port)
    return Host(address or name, number, _options(name, address, number, params, environ))


def _port(where: str, text: str) -> int:
    if text and not (text.isdecimal() and 0 < int(text) < 65536):  # noqa: PLR2004 - the highest port
        raise ConfigError(f"{where}: {text!r} is not a valid port", state="Nothing was changed.", hint="Correct it.")
    return int(text or DEFAULT_PORT)


def _options(
    name: str, address: str, port: int, params: Mapping[str, str], environ: Mapping[str, str]
) -> Mapping[str, Any]:
    """Return what `asyncpg.connect` is to be called with for one host."""
    tls = {each: params[each] for each in sorted(known.TLS) if params.get(each)}
    secure: Any = None
    if tls.get("sslrootcert") == "system":
        secure = ssl.create_default_context()
        tls = {}
    secret = params.get("password")
    if secret is None:
        secret = _from_file(name or address, port, params, environ)
    attribute = params.get("target_session_attrs", "any")
    return {
        "dsn": f"postgresql://?{urlencode(tls, quote_via=quote)}" if tls else None,
        "host": (address or name).strip("[]") or None,
        "port": port,
        "user": params["user"],
        "password": secret if secret is not None else "",
        "database": params["dbname"],
        "ssl": secure,
        "target_session_attrs": "any" if attribute == "prefer-standby" else attribute,
        "krbsrvname": params.get("krbsrvname"),
        "gsslib": params.get("gsslib"),
    }


def _from_file(host: str, port: int, params: Mapping[str, str], environ: Mapping[str, str]) -> str | None:
    home = environ.get("HOME", "")
    file = params.get("passfile") or (f"{home}/.pgpass" if home else "")
    if not file:
        return None
    local = not host or host.startswith("/")
    hosts = (host, "localhost") if local else (host.strip("[]"),)
    return password(Path(file), hosts, str(port), params["dbname"], params["user"])


def _user(where: str) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a number without a name, as containers have
        raise ConfigError(
            f"{where}: it names no user, and the user of this process has no name",
            state="Nothing was changed.",
            hint="Name the user in the address, or set PGUSER.",
        ) from error
