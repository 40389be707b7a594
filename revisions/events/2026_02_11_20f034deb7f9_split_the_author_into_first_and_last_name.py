"""Split the author into first and last name."""

from typing import Any

from migrator.adapters.mongo import Context

revision = "20f034deb7f9"
down_revision = "932ff5464c51"
rerunnable = True  # for a MongoDB without transactions: a batch touches only what is not done yet

ALWAYS = ["sku", "email", "rating", "written_at"]
TEXT = {"bsonType": "string"}
# As 459179ab3f74 wrote them, to the letter, so that the downgrade gives back what it found.
PROPERTIES: dict[str, Any] = {
    "sku": {"bsonType": "string", "description": "products.sku of the shop's PostgreSQL"},
    "author": TEXT,
    "first_name": TEXT,
    "last_name": TEXT,
    "email": TEXT,
    "rating": {"bsonType": "int", "minimum": 1, "maximum": 5},
    "written_at": {"bsonType": "date"},
}
BEFORE = {name: PROPERTIES[name] for name in ("sku", "author", "email", "rating", "written_at")}
AFTER = {name: PROPERTIES[name] for name in PROPERTIES if name != "author"}

# An update pipeline: the server computes each document from itself, and no name travels. Everything before the first
# space is the first name, so that "Hana de la Cruz" survives the way there and back; "Teapot" has no last name.
SPLIT: list[dict[str, Any]] = [
    {"$set": {"_space": {"$indexOfBytes": ["$author", " "]}, "_length": {"$strLenBytes": "$author"}}},
    {
        "$set": {
            "first_name": {"$cond": [{"$lt": ["$_space", 0]}, "$author", {"$substrBytes": ["$author", 0, "$_space"]}]},
            "last_name": {
                "$cond": [
                    {"$lt": ["$_space", 0]},
                    "",
                    {"$substrBytes": ["$author", {"$add": ["$_space", 1]}, "$_length"]},
                ]
            },
        }
    },
    {"$unset": ["author", "_space", "_length"]},
]
JOIN: list[dict[str, Any]] = [
    {"$set": {"author": {"$rtrim": {"input": {"$concat": ["$first_name", " ", "$last_name"]}}}}},
    {"$unset": ["first_name", "last_name"]},
]


async def upgrade(ctx: Context) -> None:
    # The validator first takes both shapes, then the documents change, then it takes the new shape alone. The
    # application reads both shapes before this runs.
    await _require(ctx, ALWAYS, PROPERTIES)
    async for batch in ctx.batches("reviews", where={"author": {"$exists": True}}):
        async with batch:
            await ctx.db.reviews.update_many(batch.where, SPLIT)
    await _require(ctx, [*ALWAYS, "first_name", "last_name"], AFTER)


async def downgrade(ctx: Context) -> None:
    await _require(ctx, ALWAYS, PROPERTIES)
    async for batch in ctx.batches("reviews", where={"first_name": {"$exists": True}}):
        async with batch:
            await ctx.db.reviews.update_many(batch.where, JOIN)
    await _require(ctx, ["sku", "author", "email", "rating", "written_at"], BEFORE)


async def verify(ctx: Context) -> None:
    whole = await ctx.db.reviews.count_documents({"author": {"$exists": True}})
    ctx.check(whole == 0, f"{whole} reviews still have an undivided author")
    nameless = await ctx.db.reviews.count_documents({"$or": [{"first_name": None}, {"last_name": None}]})
    ctx.check(nameless == 0, f"{nameless} reviews have no first or no last name")
    schema = (await ctx.db.reviews.options()).get("validator", {}).get("$jsonSchema", {})
    ctx.check(
        {"first_name", "last_name"} <= set(schema.get("required", ())), "the validator does not require the names"
    )


async def _require(ctx: Context, required: list[str], properties: dict[str, Any]) -> None:
    schema = {"bsonType": "object", "required": required, "properties": properties}
    await ctx.db.command("collMod", "reviews", validator={"$jsonSchema": schema}, validationAction="error")
