"""A title."""

revision = 101
down_revision = None


async def upgrade(ctx): ...
