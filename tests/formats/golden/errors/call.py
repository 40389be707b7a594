"""A title."""

revision = make_id()
down_revision = None


async def upgrade(ctx): ...
