"""Names of one's own are free."""

import sqlalchemy as sa

revision = "aa03"
down_revision = None

orders = sa.table("orders", sa.column("id"))
limit = 5
_revison = "private"


class Row:
    revision = "of a row"

    def upgrade(self) -> None: ...


def rows() -> list[Row]:
    timeout = "not ours"
    return [Row() for tags in timeout]


if limit:
    LIMIT = limit


@sa.anything
async def upgrade(ctx) -> None: ...
