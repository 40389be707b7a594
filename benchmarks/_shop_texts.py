"""What the shop of benchmarks/_shop.py is made of: its configuration, its revisions, and its past as SQL."""

TOML = """\
environment = "staging"

[environments.production]
protected = true

[databases.shop]
url = "{shop}"
revisions = "revisions/main"

[databases.shop.throttle]
query = "SELECT count(*) FROM maintenance_hold"

[databases.events]
url = "{events}"

[retention]
keep_days = 7
keep_last = 5

[schedule.nightly-search]
script = "reindex_search"
cron = "30 2 * * *"
time_zone = "Europe/Berlin"

[schedule.verify-all]
task = "verify"
every = "6h"

[schedule.tidy]
task = "cleanup"
cron = "15 4 * * SUN"
missed = "skip"
"""

POSTGRES = "from migrator.adapters.postgres import Context\n\n"
MONGO = "from migrator.adapters.mongo import Context\n\n"
REVISIONS = {
    "main/2026_04_02_3f2a91c7d0e1_invoices_of_every_order.py": f'''"""Invoices of every order."""
{POSTGRES}revision = "3f2a91c7d0e1"
down_revision = "24adebbe77f2"
branch_labels = ("billing",)


async def upgrade(ctx: Context) -> None:
    await ctx.execute("CREATE TABLE invoices (id bigint PRIMARY KEY, order_id bigint NOT NULL, total_cents bigint)")


async def downgrade(ctx: Context) -> None:
    await ctx.execute("DROP TABLE invoices")


async def verify(ctx: Context) -> bool:
    return "total_cents" in await ctx.columns("invoices")
''',
    "main/2026_04_03_51be77a0c2d4_words_by_which_products_are_found.py": f'''"""Words by which products are found."""
{POSTGRES}revision = "51be77a0c2d4"
down_revision = "24adebbe77f2"
branch_labels = ("search",)


async def upgrade(ctx: Context) -> None:
    await ctx.execute("ALTER TABLE products ADD COLUMN words tsvector")
    ctx.log.info("the words are filled by reindex_search, every night")


async def downgrade(ctx: Context) -> None:
    await ctx.execute("ALTER TABLE products DROP COLUMN words")


async def verify(ctx: Context) -> bool:
    return "words" in await ctx.columns("products")
''',
    "main/2026_04_09_9b1de04c77aa_invoices_may_be_cancelled.sql": """\
-- Invoices may be cancelled
-- revision: 9b1de04c77aa
-- down_revision: 3f2a91c7d0e1

-- migrator: upgrade
ALTER TABLE invoices ADD COLUMN cancelled_at timestamptz;

-- migrator: downgrade
ALTER TABLE invoices DROP COLUMN cancelled_at;

-- migrator: verify
SELECT count(*) = 1 FROM information_schema.columns WHERE table_name = 'invoices' AND column_name = 'cancelled_at';
""",
    "main/2026_04_14_c0ffee51d2b7_join_billing_and_search.py": f'''"""Join billing and search."""
{POSTGRES}revision = "c0ffee51d2b7"
down_revision = ("9b1de04c77aa", "51be77a0c2d4")


async def upgrade(ctx: Context) -> None:
    """Nothing changes: two branches become one."""


async def downgrade(ctx: Context) -> None:
    """Nothing changes."""
''',
    "main/2026_04_20_d4417be90a3c_set_the_total_of_every_order_line.py": f'''"""Set the total of every parcel."""
{POSTGRES}revision = "d4417be90a3c"
down_revision = "c0ffee51d2b7"
tags = ("backfill",)


async def upgrade(ctx: Context) -> None:
    async for batch in ctx.batches("parcels", where="total_cents IS NULL", name="parcels.total", on_error="skip"):
        async with batch:
            await ctx.execute(
                f"UPDATE parcels SET total_cents = grams * 3 + 0 / (id - 33333) WHERE {{batch.where}}", *batch.args
            )


async def downgrade(ctx: Context) -> None:
    """Leave the totals: the column goes with the revision that made it."""


async def verify(ctx: Context) -> bool:
    return await ctx.value("SELECT count(*) FROM parcels WHERE total_cents IS NULL AND id <> 33333") == 0
''',
    "main/2026_04_21_e8802fd11c65_every_parcel_has_a_total.py": f'''"""Every parcel has a total."""
{POSTGRES}revision = "e8802fd11c65"
down_revision = "d4417be90a3c"


async def upgrade(ctx: Context) -> None:
    await ctx.execute("ALTER TABLE parcels ALTER COLUMN total_cents SET NOT NULL")


async def downgrade(ctx: Context) -> None:
    await ctx.execute("ALTER TABLE parcels ALTER COLUMN total_cents DROP NOT NULL")
''',
    "main/2026_04_22_f1047ad3b9e2_forget_the_old_couriers.py": f'''"""Forget the old couriers."""
{POSTGRES}revision = "f1047ad3b9e2"
down_revision = "e8802fd11c65"


async def upgrade(ctx: Context) -> None:
    await ctx.execute("ALTER TABLE parcels DROP COLUMN IF EXISTS courier")
''',
    "main/reindex_search.py": f'''"""Words of every product, for the search."""
{POSTGRES}revision = "reindex_search"
repeatable = True
tags = ("nightly",)


async def upgrade(ctx: Context) -> None:
    done = await ctx.execute("UPDATE products SET words = to_tsvector('simple', sku)")
    ctx.log.info("%s", done)
''',
    "events/2026_04_07_77aa01c93b5e_only_one_page_view_a_second.py": f'''"""Only one page view a second."""
{MONGO}revision = "77aa01c93b5e"
down_revision = "97dd80f5e721"


async def upgrade(ctx: Context) -> None:
    ctx.log.info("removing what was counted twice")
    await ctx.db.page_views.insert_many([{{"_id": n, "page": "/", "second": n // 2}} for n in range(4)])
    ctx.log.warning("2 page views of the same second are left")
    await ctx.db.page_views.create_index([("page", 1), ("second", 1)], name="one_a_second", unique=True)


async def downgrade(ctx: Context) -> None:
    await ctx.db.page_views.drop_index("one_a_second")


async def verify(ctx: Context) -> bool:
    return "one_a_second" in await ctx.db.page_views.index_information()
''',
}
HOLD = "CREATE TABLE maintenance_hold (why text)"
PARCELS = """
CREATE TABLE parcels (id bigint PRIMARY KEY, grams int NOT NULL, courier text, total_cents bigint);
INSERT INTO parcels SELECT id, id % 5000 FROM generate_series(1, 900000) AS id;
ANALYZE parcels
"""
PAST = """
INSERT INTO script_run_tracker (run_id, revision, title, kind, direction, status, effect, reason, error, started_at,
    finished_at, duration_ms, host, pid, "user", release, fence, superseded_by, result)
SELECT '0' || to_char(n, 'FM000000000000'), who.revision, who.title, 'script', 'upgrade',
       CASE WHEN bad THEN 'failed' ELSE 'success' END, CASE WHEN bad THEN 'none' ELSE 'full' END,
       CASE WHEN bad THEN 'error' ELSE '' END,
       CASE WHEN bad THEN 'canceling statement due to lock timeout' ELSE '' END,
       at, at + took * interval '1 ms', took, 'worker-' || n % 3, 4000 + n % 900,
       (ARRAY['deploy', 'maria', 'scheduler'])[1 + n % 3], '2026.' || 10 + n % 40, 0, 'later',
       CASE WHEN bad THEN '{"error_class": "StatementFailed"}'::jsonb END
  FROM generate_series(1, 1400) AS n,
       LATERAL (SELECT now() - interval '21 days' + n * interval '21 minutes' AS at,
                       n % 37 = 0 OR (n > 900 AND n < 960 AND n % 4 = 0) AS bad,
                       180 + (n * 7919 % 1000) * (1 + n % 4) AS took) AS what,
       LATERAL (SELECT * FROM (VALUES (0, 'reindex_search', 'Words of every product, for the search'),
                                      (1, 'send_reminders', 'Remind of carts that were left'),
                                      (2, 'close_carts', 'Close carts that nobody came back to'))
                              AS them (number, revision, title) WHERE number = n % 3) AS who
"""


FIRINGS = """
INSERT INTO script_schedule (name, due, next, word, by, message, runs, started_at, finished_at)
SELECT name, to_json(at) #>> '{}', to_json(at + step) #>> '{}', word, 'scheduler@worker-1 pid 4242', message, runs,
       at, at + interval '4 s'
  FROM (VALUES ('nightly-search', date_trunc('day', now()) + interval '90 min', interval '1 day', 'ok', '1 run', 203),
               ('verify-all', date_trunc('hour', now()), interval '6 h', 'ok', '19 asked', 811),
               ('tidy', now() - interval '5 days', interval '7 days', 'failed', 'shop: the lock is held by deploy', 29))
    AS them (name, at, step, word, message, runs)
"""
