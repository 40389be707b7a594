"""A title."""

revision = "aa01"
down_revision = None
if True:
    timeout = 5


async def upgrade(ctx): ...
