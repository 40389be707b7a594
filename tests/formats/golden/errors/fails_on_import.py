"""A title."""

revision = "aa01"
down_revision = None


def boom():
    raise LookupError("no such colour")


X = boom()


async def upgrade(ctx): ...
