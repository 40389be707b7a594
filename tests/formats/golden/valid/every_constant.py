#!/usr/bin/env python
# A comment may come first.
"""Every constant there is."""

from __future__ import annotations

import json, datetime as dt  # noqa: E401
from migrator.adapters.postgres import Context

revision = "3f2a91c7d0e1"
down_revision = ("9b1de04c77aa", '0011223344ff')  # a merge
depends_on = ["events:77aa01", "abc"]
branch_labels = ("billing",)
tags = "nightly"
transaction = False
timeout = "1h30m"
rerunnable = True
allow_pooled = True
on_failed_verify = "downgrade"


async def upgrade(ctx: Context) -> None:
    await ctx.execute("ALTER TABLE orders ADD COLUMN shipped_at timestamptz")
