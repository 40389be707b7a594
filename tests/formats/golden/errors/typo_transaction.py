"""A title."""

revision = "aa01"
down_revision = None
transction = False


async def upgrade(ctx): ...
