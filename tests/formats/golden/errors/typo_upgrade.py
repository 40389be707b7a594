"""A title."""

revision = "aa01"
down_revision = None


async def upgarde(ctx): ...
