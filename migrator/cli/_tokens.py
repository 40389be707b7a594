"""`migrator serve token` and `migrator serve password`: who may ask the HTTP API."""

import sys
from typing import TYPE_CHECKING, Any

import click

from migrator.cli._command import Console, declare

if TYPE_CHECKING:
    from migrator.core.journal import Token

ROLES = ("viewer", "operator", "admin")


@declare(example="migrator serve token add ci --role operator --days 90")
@click.argument("name")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What it may do: look, change, or everything.")
@click.option("--days", default=0.0, type=click.FloatRange(0, 36500), help="How long it holds; without it for ever.")
async def add(console: Console, *, name: str, role: str, days: float) -> None:
    """Make a token for NAME and print it. It is shown this once: only its hash is kept.

    With --database it holds for these databases only.
    """
    from migrator.core.journal import Role
    from migrator.runtime.deployment import owner_of

    async with console.open() as migrator:
        by = owner_of(migrator.config).user
        made, text = await migrator.journal.make_token(name, Role(role), console.databases, days=days, by=by)
    console.print_json(lambda: {"token": _shown(made), "secret": text})
    if not console.as_json:
        click.echo(text)  # with --quiet, too: nobody can find it out again
    console.print("It is shown this once. Send it as `Authorization: Bearer ...`, or log in with it on the page.")


@declare(example="migrator serve token list")
async def listed(console: Console) -> None:
    """List the tokens, revoked and expired ones too. Nobody can find out their secrets."""
    from migrator.cli._table import table

    async with console.open() as migrator:
        tokens = await migrator.journal.tokens()
    rows = [
        (
            each.name,
            each.role,
            _state(each),
            ", ".join(each.databases) or "all",
            each.made_at,
            each.made_by,
            each.token_id,
        )
        for each in tokens
    ]
    headers = ("name", "role", "state", "databases", "made", "by", "id")
    console.print(table(headers, rows) if rows else "No token was made: `migrator serve token add NAME --role ...`.")
    console.print_json(lambda: {"tokens": [_shown(each) for each in tokens]})


@declare(example="migrator serve token revoke ci")
@click.argument("name")
async def revoke(console: Console, *, name: str) -> None:
    """End the token NAME (or an id). Every server refuses it within seconds."""
    async with console.open() as migrator:
        ended = await migrator.journal.revoke(name)
    console.print(f"{ended.name} is revoked.")
    console.print_json(lambda: {"token": _shown(ended)})


@declare(example="migrator serve password")
async def password(console: Console) -> None:
    """Print the hash of a password, for `[web.users.NAME]` in migrator.toml.

    It is asked for twice; where there is no terminal, it is the first line of what comes in.
    """
    from migrator.core.errors import UsageError
    from migrator.core.passwords import hashed

    text = _typed() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise UsageError("there is no password", hint="Type one, or send it: `migrator serve password < FILE`.")
    kept = hashed(text)
    console.print_json(lambda: {"password": kept})
    if not console.as_json:
        click.echo(f'password = "{kept}"')


token = click.Group(
    "token",
    {"add": add, "list": listed, "revoke": revoke},
    help="Make, list and revoke the tokens of the HTTP API.",
    epilog="Example: migrator serve token add ci --role operator",
)


def _typed() -> str:
    from migrator.cli._ask import typed

    return typed(lambda: str(click.prompt("Password", hide_input=True, confirmation_prompt="Once more", err=True)))


def _state(each: "Token") -> str:
    from datetime import UTC, datetime

    return each.ended(datetime.now(UTC)) or (f"until {each.expires_at}" if each.expires_at else "for ever")


def _shown(each: "Token") -> dict[str, Any]:
    return {name: value for name, value in vars(each).items() if name != "sha256"} | {"state": _state(each)}
