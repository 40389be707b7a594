"""A verify that nobody would call."""

revision = "3f2a91c7d0e1"


async def upgrade(ctx): ...


async def verfiy(ctx): ...
