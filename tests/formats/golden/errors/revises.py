"""A title."""

revision = "aa01"
revises = None


async def upgrade(ctx): ...
