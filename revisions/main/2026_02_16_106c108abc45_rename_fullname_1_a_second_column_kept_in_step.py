"""Rename fullname (1): a second column, kept in step."""

from migrator.adapters.postgres import Context

revision = "106c108abc45"
down_revision = "7b2fc2dc74e6"

# ALTER TABLE ... RENAME COLUMN takes a millisecond, and in that millisecond every running copy of the application
# breaks. So the new name comes beside the old one (this revision), the rows follow (df20a286c70e), the promise follows
# (f628ed7dad34), the application is deployed, and only then does the old name go (c853484eca87).

IN_STEP = """
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
    # ALTER TABLE needs the table for itself for a moment. While it waits behind one long query, everybody else waits
    # behind it: better to give up after five seconds and to be run again.
    await ctx.execute("SET LOCAL lock_timeout = '5s'")
    # No default and no NOT NULL: the catalog changes, no row is touched, however large the table is.
    await ctx.execute("ALTER TABLE customers ADD COLUMN full_name text")
    await ctx.execute(IN_STEP)


async def downgrade(ctx: Context) -> None:
    await ctx.execute("SET LOCAL lock_timeout = '5s'")
    await ctx.execute("DROP TRIGGER customers_keep_names ON customers")
    await ctx.execute("DROP FUNCTION customers_keep_names()")
    await ctx.execute("ALTER TABLE customers DROP COLUMN full_name")


async def verify(ctx: Context) -> None:
    columns = await ctx.columns("customers")
    ctx.check("full_name" in columns, "customers.full_name is missing")
    if "fullname" in columns:  # until c853484eca87 takes it away, together with the trigger
        works = await ctx.value(
            "SELECT tgenabled = 'O' FROM pg_trigger"
            " WHERE tgrelid = 'customers'::regclass AND tgname = 'customers_keep_names'"
        )
        ctx.check(works, "nothing keeps fullname and full_name in step")
