"""A title."""

revision = "aa01"
down_revision = None


async def upgrade(ctx): ...


async def upgrade(ctx): ...
