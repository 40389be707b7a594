"""`[web]` of migrator.toml: who may ask `migrator serve`, as it is written, and checked."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from migrator.core.errors import ConfigError

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from migrator.core.journal import Identity, Role

RoleWord = Literal["viewer", "operator", "admin"]


class UserTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[web.users.NAME]`: somebody with a password (basic auth), who may what `role` may at `databases` ([]: all)."""

    password: str
    role: RoleWord = "viewer"
    databases: list[str] = []


class WebTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[web]`: `users` with passwords; `trusted_proxies`, the addresses (10.0.0.0/8) of proxies that say in
    `user_header` who asks and in `groups_header` to which groups they belong; `groups` are their roles.

    With `read_only` nobody changes anything. `hosts` are the names under which browsers know this server.
    """

    read_only: bool = False
    users: dict[str, UserTable] = {}
    trusted_proxies: list[str] = []
    user_header: str = "X-Forwarded-User"
    groups_header: str = "X-Forwarded-Groups"
    groups: dict[str, RoleWord] = {}
    hosts: list[str] = []


class User(msgspec.Struct, frozen=True):
    """Somebody with a password; `password` is its scrypt hash."""

    identity: "Identity"
    password: str


class Web(msgspec.Struct, frozen=True):
    """Who may ask, besides those with a token."""

    read_only: bool = False
    users: Mapping[str, User] = {}
    proxies: "tuple[IPv4Network | IPv6Network, ...]" = ()
    user_header: str = "x-forwarded-user"
    groups_header: str = "x-forwarded-groups"
    groups: "Mapping[str, Role]" = {}
    hosts: tuple[str, ...] = ()


def web(table: WebTable) -> Web:
    """Return what `[web]` says. Raises ConfigError; the message never holds a password."""
    return Web(
        read_only=table.read_only,
        users={name: _user(name, each) for name, each in table.users.items()},
        proxies=tuple(_network(text) for text in table.trusted_proxies),
        user_header=table.user_header.lower(),
        groups_header=table.groups_header.lower(),
        groups={name: _role(word) for name, word in table.groups.items()},
        hosts=tuple(host.lower() for host in table.hosts),
    )


def _role(word: RoleWord) -> "Role":
    from migrator.core.journal import Role

    return Role(word)


def _user(name: str, table: UserTable) -> User:
    from migrator.core.journal import Identity
    from migrator.core.passwords import is_hash

    if not is_hash(table.password):
        raise ConfigError(
            f"web.users.{name}.password is no hashed password",
            state="Nothing was changed.",
            hint="`migrator serve password` asks for one and prints its hash.",
        )
    return User(Identity(name, _role(table.role), "password", tuple(table.databases)), table.password)


def _network(text: str) -> "IPv4Network | IPv6Network":
    from ipaddress import ip_network

    try:
        return ip_network(text)
    except ValueError as error:
        raise ConfigError(
            f"web.trusted_proxies: {error}", hint='Write addresses or networks: ["127.0.0.1", "10.0.0.0/8"].'
        ) from None
