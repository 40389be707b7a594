"""A title."""

revision = "aa01"
down_revision = None

if revision:
    raise SystemExit("bye")


async def upgrade(ctx): ...
