"""A title."""

revision = "aa01"
down_revision = None
on_failed_verify = "retry"


async def upgrade(ctx): ...
