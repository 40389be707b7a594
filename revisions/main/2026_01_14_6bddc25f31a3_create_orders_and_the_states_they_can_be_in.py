"""Create orders and the states they can be in."""

from migrator.adapters.postgres import Context

revision = "6bddc25f31a3"
down_revision = "185fc0ec3f16"

STATES = ("placed", "paid", "shipped", "cancelled")


async def upgrade(ctx: Context) -> None:
    states = ", ".join(f"'{state}'" for state in STATES)
    await ctx.execute(f"CREATE TYPE order_status AS ENUM ({states})")
    await ctx.execute("""
        CREATE TABLE orders (
            id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            customer_id bigint NOT NULL CONSTRAINT orders_customer_fkey REFERENCES customers,
            status      order_status NOT NULL DEFAULT 'placed',
            placed_at   timestamptz NOT NULL DEFAULT now()
        );
        CREATE TABLE order_lines (
            order_id         bigint  NOT NULL CONSTRAINT order_lines_order_fkey REFERENCES orders ON DELETE CASCADE,
            product_id       bigint  NOT NULL CONSTRAINT order_lines_product_fkey REFERENCES products,
            quantity         integer NOT NULL CONSTRAINT order_lines_quantity_check CHECK (quantity > 0),
            unit_price_cents integer NOT NULL,  -- the price on that day; products.price_cents moves on
            PRIMARY KEY (order_id, product_id)
        );
        -- PostgreSQL does not index the near end of a foreign key by itself. The tables are empty, so nobody waits;
        -- a table in use gets its indexes concurrently, see 7b2fc2dc74e6.
        CREATE INDEX orders_customer_idx ON orders (customer_id);
        CREATE INDEX order_lines_product_idx ON order_lines (product_id);
    """)


async def downgrade(ctx: Context) -> None:
    await ctx.execute("DROP TABLE order_lines, orders")
    await ctx.execute("DROP TYPE order_status")  # a type outlives the tables that use it


async def verify(ctx: Context) -> None:
    # One question per check, so that the answer says what is wrong.
    kind = await ctx.value(
        "SELECT atttypid::regtype::text FROM pg_attribute"
        " WHERE attrelid = to_regclass('orders') AND attname = 'status' AND NOT attisdropped"
    )
    ctx.check(kind == "order_status", f"orders.status is {kind or 'missing'}")
    states = {row[0] for row in await ctx.fetch("SELECT unnest(enum_range(NULL::order_status))::text")}
    ctx.check(states >= set(STATES), f"order_status lacks {set(STATES) - states}")
    keys = await ctx.value(
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated"
        " AND conname IN ('orders_customer_fkey', 'order_lines_order_fkey', 'order_lines_product_fkey')"
        " AND conrelid IN (to_regclass('orders'), to_regclass('order_lines'))"
    )
    ctx.check(keys == 3, f"{keys} of 3 foreign keys are there")  # noqa: PLR2004
