"""Forget page views after thirty days."""

from datetime import timedelta

from migrator.adapters.mongo import Context

revision = "97dd80f5e721"
down_revision = "22f3e35ec910"
transaction = False
rerunnable = True

NAME = "page_views_ttl"
KEPT = int(timedelta(days=30).total_seconds())


async def upgrade(ctx: Context) -> None:
    # A TTL index: the server itself deletes what is older, about once a minute. On a collection that is full already,
    # begin with a long time and shorten it by collMod, or the first round deletes for hours.
    if "page_views" not in await ctx.db.list_collection_names():
        await ctx.db.create_collection("page_views")
    await ctx.db.page_views.create_index("seen_at", name=NAME, expireAfterSeconds=KEPT)


async def downgrade(ctx: Context) -> None:
    await ctx.db.page_views.drop()


async def verify(ctx: Context) -> bool:
    # The number too: an index of this name with another time would delete too early, or never.
    index = (await ctx.db.page_views.index_information()).get(NAME, {})
    return bool(index.get("expireAfterSeconds") == KEPT and index.get("key") == [("seen_at", 1)])
