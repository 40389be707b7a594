"""Bring the reviews of the old shop."""

from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from migrator.adapters.mongo import Context

revision = "932ff5464c51"
down_revision = "9d27e2c535de"
depends_on = ("main:c8310cbcd9cf",)  # a review names a product of the catalogue, which is in PostgreSQL
transaction = False  # 50,000 documents are too many for one transaction; see below
rerunnable = True

COUNT = 50_000
CHUNK = 5_000
OPENED = datetime(2024, 1, 1, tzinfo=UTC)

FIRST = ("Ada", "Bela", "Chiara", "Dmitri", "Emre", "Fatou", "Goran", "Hana", "Inge", "Jun", "Kofi")
LAST = ("Abara", "Bauer", "de la Cruz", "Dubois", "van den Berg", "Eriksen", "Fischer", "Garcia", "Haddad", "Ito")
RATINGS = (5, 4, 5, 3, 4, 5, 2, 4, 5, 1)


def _id(number: int) -> ObjectId:
    # Ids of the kind that the application's own documents have: a range over _id sees only one type.
    return ObjectId(f"{number:024x}")


def _review(number: int, skus: list[str]) -> dict[str, Any]:
    # No random numbers: every database on which this runs holds the same documents, and a second run agrees with
    # the first.
    bought = number % 1_250 == 1  # 40 of them, by readers who never bought anything: 22f3e35ec910 finds out
    name = f"{FIRST[number % len(FIRST)]} {LAST[number // len(FIRST) % len(LAST)]}" if number % 97 else "Teapot"
    return {
        "_id": _id(number),
        "sku": skus[number * 7 % len(skus)],
        "author": name,
        "email": f"reader{number}@{'praise.example' if bought else 'example.com'}",
        "rating": 5 if bought else RATINGS[number // len(skus) * 3 % len(RATINGS)],
        "written_at": OPENED + timedelta(minutes=20 * number),
    }


async def upgrade(ctx: Context) -> None:
    async with ctx.database("main") as shop:
        skus = [row["sku"] for row in await shop.fetch("SELECT sku FROM products ORDER BY sku")]
    # The ids rise, and an ordered insert stops where it fails: what is there is a beginning without gaps, and an
    # interrupted run goes on behind it.
    there = await ctx.db.reviews.find_one({"_id": {"$lte": _id(COUNT)}}, sort=[("_id", -1)])
    begin = int(str(there["_id"]), 16) + 1 if there else 1
    for first in range(begin, COUNT + 1, CHUNK):
        last = min(first + CHUNK - 1, COUNT)
        await ctx.db.reviews.insert_many([_review(number, skus) for number in range(first, last + 1)])
        ctx.log.info("%s of %s reviews", last, COUNT)


async def downgrade(ctx: Context) -> None:
    await ctx.db.reviews.delete_many({"_id": {"$lte": _id(COUNT)}})  # what the readers wrote since stays


async def verify(ctx: Context) -> None:
    # Some may be withdrawn or moderated later; the first and the last say that none was cut off.
    found = await ctx.db.reviews.count_documents({"_id": {"$in": [_id(2), _id(COUNT)]}})
    ctx.check(found == 2, "the reviews of the old shop did not all arrive")  # noqa: PLR2004
    rough = await ctx.db.reviews.count_documents({"_id": {"$lte": _id(COUNT)}})
    ctx.check(rough > COUNT * 0.99, f"only {rough} of {COUNT} reviews of the old shop are here")
