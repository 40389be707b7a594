"""Only in staging."""

revision = "3f2a91c7d0e1"
environments = ["staging"]


async def upgrade(ctx): ...
