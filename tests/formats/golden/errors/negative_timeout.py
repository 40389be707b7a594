"""A title."""

revision = "aa01"
down_revision = None
timeout = -5


async def upgrade(ctx): ...
