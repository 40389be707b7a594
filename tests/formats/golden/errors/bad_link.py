"""A title."""

revision = "aa01"
down_revision = None
depends_on = "events:"


async def upgrade(ctx): ...
