"""A title."""

revision = "aa01"
down_revison = None


async def upgrade(ctx): ...
