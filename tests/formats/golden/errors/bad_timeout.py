"""A title."""

revision = "aa01"
down_revision = None
timeout = "10 min"


async def upgrade(ctx): ...
