"""Refresh."""

revision = "refresh"
repeatable = True
down_revision = "3f2a91c7d0e1"


async def upgrade(ctx): ...
