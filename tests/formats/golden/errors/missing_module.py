import no_such_module_anywhere.sub

revision = "aa01"


async def upgrade(ctx): ...
