"""A title."""

down_revision = None


async def upgrade(ctx): ...
