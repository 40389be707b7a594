revision = "3f2a91c7"
down_revision = None
timeout = 0


async def upgrade(ctx): ...
