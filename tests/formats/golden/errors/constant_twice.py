"""A title."""

revision = "aa01"
down_revision = None
revision = "aa02"


async def upgrade(ctx): ...
