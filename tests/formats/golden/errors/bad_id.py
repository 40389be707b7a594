"""A title."""

revision = "aa-01"
down_revision = None


async def upgrade(ctx): ...
