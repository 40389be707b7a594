"""Needs what nobody can look for."""

revision = "3f2a91c7d0e1"
requires = ["redis"]


async def upgrade(ctx): ...
