"""Withdraw the reviews that were bought."""

from collections import defaultdict
from typing import Any

from pymongo import UpdateOne
from pymongo.asynchronous.collection import AsyncCollection

from migrator.adapters.mongo import Context

revision = "22f3e35ec910"
down_revision = "8bd717778ebb"
transaction = True  # a review is in one collection or the other, and the totals agree: at every moment, for everybody

# Transactions are for few documents: the server ends one after 60 seconds, and keeps every old version until then.
# Forty are few. For fifty thousand, go in batches, as 20f034deb7f9 does.

BOUGHT = {"email": {"$regex": r"@praise\.example$"}}


async def upgrade(ctx: Context) -> None:
    await _move(ctx, ctx.db.reviews, ctx.db.withdrawn_reviews, sign=-1)


async def downgrade(ctx: Context) -> None:
    await _move(ctx, ctx.db.withdrawn_reviews, ctx.db.reviews, sign=1)


async def verify(ctx: Context) -> None:
    left = await ctx.db.reviews.count_documents(BOUGHT)
    ctx.check(left == 0, f"{left} bought reviews are still counted")
    both = [each["_id"] async for each in ctx.db.withdrawn_reviews.find({}, {"_id": True})]
    twice = await ctx.db.reviews.count_documents({"_id": {"$in": both}})
    ctx.check(twice == 0, f"{twice} reviews are withdrawn and still there")


async def _move(
    ctx: Context, source: AsyncCollection[dict[str, Any]], target: AsyncCollection[dict[str, Any]], *, sign: int
) -> None:
    # No session= anywhere: in a transactional revision every command of ctx.db joins the step's transaction.
    found = await source.find(BOUGHT).to_list()
    if not found:
        return  # insert_many refuses an empty list
    totals: defaultdict[str, dict[str, int]] = defaultdict(lambda: {"reviews": 0, "stars": 0})
    for review in found:
        totals[review["sku"]]["reviews"] += sign
        totals[review["sku"]]["stars"] += sign * review["rating"]
    await target.insert_many(found)
    await source.delete_many({"_id": {"$in": [review["_id"] for review in found]}})
    await ctx.db.review_totals.bulk_write([UpdateOne({"_id": sku}, {"$inc": change}) for sku, change in totals.items()])
