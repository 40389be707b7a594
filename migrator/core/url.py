"""Database addresses, read here before any driver sees them, so that no driver can put a password into a message."""

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from migrator.core.errors import ConfigError

_FORM = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?:(?P<userinfo>.*)@)?"
    r"(?P<hosts>[^@/?]*)"
    r"(?:/(?P<database>[^@?]*))?"
    r"(?:\?(?P<params>[^@]*))?",
    re.DOTALL,
)
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(?P<port>\d{1,5}))?")
_PASSWORD_PARAM = re.compile(r"pass|secret|token|key$", re.IGNORECASE)


@dataclass(frozen=True)
class Url:
    """A database address in its parts. Its text forms never show the password.

    `hosts` are (host, port) with port 0 where none is given; `params` keep their order.
    """

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    database: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # one of them may be a password

    @classmethod
    def parse(cls, text: str, where: str) -> "Url":
        """Read `scheme://user:password@host:port/database?params`.

        A password may hold any character, escaped or not: what stands before the last @ is user and password.
        Raises ConfigError that names `where` and never the address.
        """
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ConfigError(f"{where} is no database address", hint="Write scheme://user:password@host:port/database")
        user, _, password = (match["userinfo"] or "").partition(":")
        hosts = tuple(_host(each, where) for each in (match["hosts"] or "").split(",") if each)
        pairs = (pair.partition("=") for pair in (match["params"] or "").split("&") if pair)
        return cls(
            scheme=match["scheme"],
            hosts=hosts,
            database=unquote(match["database"] or ""),
            user=unquote(user),
            password=unquote(password),
            params=tuple((unquote(name), unquote(value)) for name, _, value in pairs),
        )

    @property
    def host(self) -> str:
        """Return the first host."""
        return self.hosts[0][0] if self.hosts else ""

    @property
    def port(self) -> int:
        """Return the first host's port, 0 where none is given."""
        return self.hosts[0][1] if self.hosts else 0

    def param(self, name: str) -> str:
        """Return a parameter's value, "" where it is missing."""
        return dict(self.params).get(name, "")

    def secrets(self) -> frozenset[str]:
        """Return what must never be shown: the password, its escaped forms, and parameters that hold one."""
        values = {self.password, *(value for name, value in self.params if _PASSWORD_PARAM.search(name))}
        forms = {form for value in values for form in (value, quote(value), quote(value, safe=""))}
        return frozenset(form for form in forms if form)

    def bare(self, scheme: str = "") -> str:
        """Return the address without user and password, for a driver that takes those apart from it."""
        hosts = ",".join(f"{_socket(host)}:{port}" if port else _socket(host) for host, port in self.hosts)
        params = "&".join(f"{quote(name, safe='')}={quote(value, safe='/:,')}" for name, value in self.params)
        return f"{scheme or self.scheme}://{hosts}/{quote(self.database, safe='')}" + (f"?{params}" if params else "")

    def __str__(self) -> str:
        """Return the address for a person: no password, no parameters."""
        hosts = ",".join(f"{host}:{port}" if port else host for host, port in self.hosts)
        user = f"{quote(self.user)}@" if self.user else ""
        return f"{self.scheme}://{user}{hosts}/{self.database}"


def _socket(host: str) -> str:
    """Return a host, escaped if it is the folder or the path of a socket."""
    return quote(host, safe="") if host.startswith("/") else host


def _host(text: str, where: str) -> tuple[str, int]:
    match = _HOST.fullmatch(unquote(text))
    if match is None or int(match["port"] or 0) > 65535:  # noqa: PLR2004 - the highest port
        raise ConfigError(
            f"{where}: the host or the port cannot be read",
            hint="Write host:port with a port from 1 to 65535; escape an @ or a / in the password as %40 and %2F.",
        )
    return match["host"], int(match["port"] or 0)
