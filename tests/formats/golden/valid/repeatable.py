"""A script beside the order, with everything around its work."""

from dataclasses import dataclass

revision = "refresh_totals"
repeatable = True
depends_on = ["events:77aa01"]
environments = ["staging", "production"]
requires = ["postgres:main", "env:STRIPE_KEY", "https://example.com/health"]


@dataclass
class Params:
    days: int = 30


async def setup(ctx): ...


async def validate(ctx): ...


async def upgrade(ctx): ...


async def cleanup(ctx): ...
