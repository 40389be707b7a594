"""A title."""

revision = "aa01"
down_revision = ("a", "b c")


async def upgrade(ctx): ...
