"""A title."""

revision = "aa01"
down_revision = 5


async def upgrade(ctx): ...
