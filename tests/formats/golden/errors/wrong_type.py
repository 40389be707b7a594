"""A title."""

revision = "aa01"
down_revision = None
transaction = "off"


async def upgrade(ctx): ...
