"""A title."""

revision = "aa01"
down_revision = None


async def upgrade(ctx): ...


class X(Script):
    async def upgrade(self, ctx): ...
