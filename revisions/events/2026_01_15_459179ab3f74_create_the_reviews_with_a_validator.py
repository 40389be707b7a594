"""Create the reviews, with a validator."""

from typing import Any

from migrator.adapters.mongo import Context

revision = "459179ab3f74"
down_revision = None
transaction = False  # each statement takes effect alone, so each must be safe to repeat
rerunnable = True

# MongoDB takes any document unless it is told otherwise. This is what a review may not lack; further fields are free.
SCHEMA: dict[str, Any] = {
    "bsonType": "object",
    "required": ["sku", "author", "email", "rating", "written_at"],
    "properties": {
        "sku": {"bsonType": "string", "description": "products.sku of the shop's PostgreSQL"},
        "author": {"bsonType": "string"},
        "email": {"bsonType": "string"},
        "rating": {"bsonType": "int", "minimum": 1, "maximum": 5},
        "written_at": {"bsonType": "date"},
    },
}


async def upgrade(ctx: Context) -> None:
    # A second run finds the collection there: it sets the validator and harms nothing.
    if "reviews" not in await ctx.db.list_collection_names():
        await ctx.db.create_collection("reviews")
    await ctx.db.command("collMod", "reviews", validator={"$jsonSchema": SCHEMA}, validationAction="error")


async def downgrade(ctx: Context) -> None:
    await ctx.db.reviews.drop()  # and what is in it: before this revision there were no reviews


async def verify(ctx: Context) -> None:
    # Later revisions change which names are required, so only what stays is asked for.
    options = await ctx.db.reviews.options()
    schema = options.get("validator", {}).get("$jsonSchema", {})
    lacking = {"sku", "email", "rating", "written_at"} - set(schema.get("required", ()))
    ctx.check(not lacking, f"the validator of reviews does not require {sorted(lacking)}")
    ctx.check(options.get("validationAction") == "error", "the validator of reviews refuses nothing")
