"""Methods in place of functions."""

from migrator import Script

revision = "aa04"
down_revision = None


class AddEmail(Script):
    """Methods share what they need."""

    async def upgrade(self, ctx) -> None:
        await ctx.execute(self.column())

    async def verify(self, ctx) -> bool:
        return True

    def column(self) -> str:
        return "email"
