"""A title."""

from other import downgrade

revision = "aa01"


async def upgrade(ctx): ...
