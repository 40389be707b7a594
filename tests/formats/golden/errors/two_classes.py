"""A title."""

revision = "aa01"
down_revision = None


class X(Script):
    async def upgrade(self, ctx): ...


class Y(Script):
    async def upgrade(self, ctx): ...
