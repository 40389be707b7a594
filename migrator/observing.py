"""`[notify.NAME]`, `[metrics]` and `[tracing]` of migrator.toml: as they are written, and checked."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Literal
from urllib.parse import unquote

import msgspec

from migrator.core.channel import Channel
from migrator.core.duration import seconds
from migrator.core.errors import ConfigError
from migrator.core.message import WORDS, Kind

LONGEST = 60.0
"""Seconds that a channel's `timeout` may have at most: the command waits for it at its end."""

_NAMES_A_SERVER = ("http", "https", "smtp", "smtps")
_TOKEN = re.compile(r"(?=.*\d)[\w.~+=-]{12,}")
"""What looks like a key when it is a part of an address."""


class NotifyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[notify.NAME]`: `kind` is webhook, slack, email or apprise; `url` is where it goes.

    An empty `url` turns it off. `secret` signs what a webhook is sent; `sender` and `to` are for e-mail.
    """

    kind: str
    url: str
    secret: str = ""
    sender: str = ""
    to: tuple[str, ...] = ()
    on: tuple[Literal["success", "failure", "interrupted", "lock_wait", "throttled"], ...] = (
        "failure",
        "interrupted",
        "lock_wait",
    )
    environments: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    template: str = ""
    timeout: str = "5s"
    lock_wait_after: str = "1m"


class MetricsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[metrics]`: the `textfile` to write after each command, and the Pushgateway to `push` to, under this `job`.

    `listen` is the address, host:port, at which `migrator schedule` serves them.
    """

    textfile: str = ""
    push: str = ""
    job: str = "migrator"
    listen: str = ""


class TracingTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[tracing]`: with `enabled`, spans go to whatever OpenTelemetry SDK the program has set up."""

    enabled: bool = False


class Metrics(msgspec.Struct, frozen=True):
    """Where metrics go. `textfile` is None, `push` and `listen` are "" where they do not go there."""

    textfile: Path | None = None
    push: str = ""
    job: str = "migrator"
    listen: str = ""


def channels(tables: Mapping[str, NotifyTable]) -> tuple[Channel, ...]:
    """Return the channels; one whose `url` is empty is off. Raises ConfigError, which never shows a secret."""
    return tuple(_channel(name, table) for name, table in tables.items() if table.url)


def metrics(table: MetricsTable, root: Path) -> Metrics:
    """Return where metrics go; a relative path starts at the folder of migrator.toml."""
    if table.listen and not table.listen.rpartition(":")[2].isdecimal():
        raise ConfigError("metrics.listen is no address", hint='For example: listen = "127.0.0.1:9108".')
    return Metrics(root / table.textfile if table.textfile else None, table.push, table.job, table.listen)


def secrets(channels: Sequence[Channel], metrics: Metrics, probes: Iterable[str]) -> set[str]:
    """Return what must never be shown: keys, passwords, and addresses that are secrets as a whole."""
    found = {each.secret for each in channels}
    for address in [metrics.push, *probes, *(each.url for each in channels)]:
        found |= _secret_parts(address)
    return found


def _channel(name: str, table: NotifyTable) -> Channel:
    where = f"notify.{name}"
    return Channel(
        name=name,
        kind=table.kind,
        url=table.url,
        secret=table.secret,
        sender=table.sender,
        to=table.to,
        on=frozenset(Kind(each) for each in table.on),
        environments=frozenset(table.environments),
        tags=frozenset(table.tags),
        template=_template(table.template, where),
        timeout=_time(table.timeout, f"{where}.timeout", LONGEST),
        lock_wait_after=_time(table.lock_wait_after, f"{where}.lock_wait_after"),
    )


def _template(text: str, where: str) -> str:
    """Check that a template names nothing that there is not."""
    template = Template(text)
    wrong = [] if template.is_valid() else ["a $ without a name; write $$ for the sign itself"]
    wrong += [f"${name}" for name in template.get_identifiers() if name not in WORDS]
    if wrong:
        known = ", ".join(f"${word}" for word in WORDS)
        raise ConfigError(f"{where}.template has {wrong[0]}", state="Nothing was changed.", hint=f"Known: {known}")
    return text


def _time(text: str, where: str, most: float = float("inf")) -> float:
    try:
        found = seconds(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}", state="Nothing was changed.") from None
    if not 0 < found <= most:
        raise ConfigError(f"{where} must be more than 0 and at most {most:g} s", state="Nothing was changed.")
    return found


def _secret_parts(address: str) -> set[str]:
    """Return the address, and whatever part of it gives access by itself: a webhook's path is its password.

    Where the scheme is one of Apprise's, the place of the server may hold a key too.
    """
    scheme, _, rest = address.partition("://")
    server, slash, path = rest.partition("/")
    userinfo = server.rpartition("@")[0]
    keyed = f"{userinfo}/{path}" if scheme in _NAMES_A_SERVER else rest
    pieces = {piece for piece in re.split(r"[/?&=:@]", keyed) if _TOKEN.fullmatch(piece)}
    found = {address, userinfo.partition(":")[2], slash + path if _TOKEN.search(path) else "", *pieces}
    return {form for each in found for form in (each, unquote(each)) if form}
