"""A title."""

revision = "aa01"
down_revision = ("a", "a")


async def upgrade(ctx): ...
