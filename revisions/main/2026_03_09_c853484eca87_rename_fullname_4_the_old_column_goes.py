"""Rename fullname (4): the old column goes."""

from migrator.adapters.postgres import Context

revision = "c853484eca87"
down_revision = "f628ed7dad34"

# Three weeks after the others: not before the last copy of the application that reads fullname is gone.

# The function as 106c108abc45 made it. Copied, not imported: a revision has to mean the same for ever.
BACK_IN_STEP = """
    CREATE FUNCTION customers_keep_names() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            NEW.full_name := coalesce(NEW.full_name, NEW.fullname);
            NEW.fullname := coalesce(NEW.fullname, NEW.full_name);
        ELSIF NEW.full_name IS DISTINCT FROM OLD.full_name THEN
            NEW.fullname := NEW.full_name;
        ELSE
            NEW.full_name := NEW.fullname;
        END IF;
        RETURN NEW;
    END $$;

    CREATE TRIGGER customers_keep_names BEFORE INSERT OR UPDATE ON customers
        FOR EACH ROW EXECUTE FUNCTION customers_keep_names();
"""


async def upgrade(ctx: Context) -> None:
    await ctx.execute("SET LOCAL lock_timeout = '5s'")
    await ctx.execute("DROP TRIGGER customers_keep_names ON customers")
    await ctx.execute("DROP FUNCTION customers_keep_names()")
    await ctx.execute("ALTER TABLE customers DROP COLUMN fullname")  # the catalog only; space comes back with time


async def downgrade(ctx: Context) -> None:
    # Nothing was lost, because the new column had everything. The UPDATE holds the table's rows until the commit:
    # on a table of millions, bring the column back empty and fill it in batches, as df20a286c70e does.
    await ctx.execute("SET LOCAL lock_timeout = '5s'")
    await ctx.execute("ALTER TABLE customers ADD COLUMN fullname text")
    await ctx.execute("UPDATE customers SET fullname = full_name")
    await ctx.execute("ALTER TABLE customers ALTER COLUMN fullname SET NOT NULL")
    await ctx.execute(BACK_IN_STEP)


async def verify(ctx: Context) -> None:
    columns = await ctx.columns("customers")
    ctx.check("full_name" in columns, "customers.full_name is missing")
    ctx.check("fullname" not in columns, "customers.fullname is still there")
    left = await ctx.value("SELECT to_regproc('customers_keep_names') IS NOT NULL")
    ctx.check(not left, "the trigger function customers_keep_names is still there")
