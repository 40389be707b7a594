"""SQL files on a real server: where they fail is said with file, line and statement, and what a verify may answer."""

from pathlib import Path

import asyncpg  # type: ignore[import-untyped,unused-ignore]
import pytest

from migrator.config import load
from migrator.core.errors import MigratorError, RunFailed, VerifyFailed
from migrator.core.run import Effect
from migrator.runtime.migrator import Migrator
from tests.acceptance._project import Project

HEAD = "-- Add orders.\n-- revision: aa01\n"


async def failure(shop: Project, text: str) -> RunFailed:
    """Write the only file of the project, apply it, and return how it failed."""
    (shop.revisions("main") / "aa01.sql").write_text(text, "utf-8")
    async with Migrator.open(load(str(shop.toml), {})) as migrator:
        with pytest.raises(RunFailed) as caught:
            await migrator.upgrade()
    return caught.value


ERRORS = {
    "INSERT INTO orders VALUES (1), (1);": "duplicate key",
    "INSERT INTO orders VALUES (-1);": "violates check constraint",
    "INSERT INTO orders VALUES (NULL);": "null value",
    "SELECT 1 / (SELECT count(*) FROM orders);": "division by zero",
    "DO $$ BEGIN RAISE EXCEPTION 'not today'; END $$;": "not today",
    "SELECT note::int FROM (VALUES ('x')) AS n (note);": "invalid input syntax",
    "SELECT * FROM nowhere;": "does not exist",
    "CREATE TABLE orders (id int);": "already exists",
    "SELEC 1;": "syntax error",
    "SELECT 2147483647 + (SELECT count(*) FROM orders)::int + 1;": "out of range",
    "DROP TABLE nowhere;": "does not exist",
    "SELECT ARRAY[1, 2] + ARRAY['x'];": "does not exist",
    "SELECT 'x'::json;": "invalid input syntax",
    "VACUUM;": "cannot run inside a transaction block",
}
TABLE = "CREATE TABLE orders (id int PRIMARY KEY CHECK (id >= 0));"


@pytest.mark.parametrize("section", ["upgrade", "verify"])
async def test_every_error_has_its_place(shop: Project, section: str) -> None:
    """In a transaction the file, the line and the statement are said, whichever kind of error it is."""
    for statement, reason in ERRORS.items():
        if section == "upgrade":
            text = f"{HEAD}\n-- migrator: upgrade\n{TABLE}\n\n-- now\n{statement}\nSELECT 'after';\n"
        else:
            text = f"{HEAD}\n-- migrator: upgrade\n{TABLE}\n-- migrator: verify\n-- now\n{statement}\n"
        error = await failure(shop, text)
        assert "revisions/aa01.sql:8: could not run `" in error.message, error.message
        assert reason in error.message
        assert statement.split()[0].strip(";") in error.message
        assert "not today'" not in error.message
        assert isinstance(error, VerifyFailed) is (section == "verify")
        assert error.failed is not None
        assert error.failed.effect is Effect.NONE


async def test_a_statement_that_needs_no_transaction(shop: Project) -> None:
    """The hint is in the words of the file's own format, and the line is that of the statement."""
    error = await failure(shop, f"{HEAD}-- migrator: upgrade\n{TABLE}\nVACUUM orders;\n")
    assert "aa01.sql:5:" in error.message
    assert error.hint.startswith("Write `-- transaction: off` above the first section")
    (shop.revisions("main") / "aa01.sql").unlink()
    shop.revision("main", "bb01", upgrade='await ctx.execute("VACUUM")')
    async with Migrator.open(load(str(shop.toml), {})) as migrator:
        with pytest.raises(RunFailed, match=r"bb01\.py:6: ") as caught:
            await migrator.upgrade()
    assert caught.value.hint.startswith("Write `transaction = False`")


async def test_a_typo_before_the_first_statement(shop: Project) -> None:
    """Without a transaction the server reads the whole section first: nothing has run, and the corrected file runs."""
    head = HEAD + "-- transaction: off\n\n-- migrator: upgrade\n"
    for text in (f"{TABLE}\nSELEC 1;\n", "SELEC 1;\n", "\nSELECT * FROM nowhere;\n"):
        error = await failure(shop, head + text)
        assert error.failed is not None
        assert error.failed.effect is Effect.NONE, error.message
        assert "aa01.sql:" in error.message
    (shop.revisions("main") / "aa01.sql").write_text(head + TABLE, "utf-8")
    async with Migrator.open(load(str(shop.toml), {})) as migrator:
        assert len((await migrator.upgrade()).runs) == 1


async def test_errors_without_a_transaction_have_their_place(shop: Project) -> None:
    """Statement by statement the place is that of the statement, and what ran before it is told to be there."""
    error = await failure(
        shop, f"{HEAD}-- transaction: off\n-- migrator: upgrade\n{TABLE}\n\nINSERT INTO orders VALUES (1),\n (1);\n"
    )
    assert "revisions/aa01.sql:7: could not run `INSERT INTO orders VALUES (***), (***)`: duplicate" in error.message
    assert error.failed is not None
    assert error.failed.effect is not Effect.NONE


async def test_the_text_of_a_file_stays_by_itself(shop: Project, tmp_path: Path) -> None:
    """What a file leaves open cannot reach what the tracker writes, whatever the server takes for a quote."""
    del tmp_path
    url = shop.urls["main"]
    shop.configure(main=url + ("&" if "?" in url else "?") + "options=-c%20standard_conforming_strings%3Doff")
    error = await failure(shop, f"{HEAD}-- migrator: upgrade\n{TABLE}\nSELECT 'it\\';\n")
    assert isinstance(error, MigratorError)
    assert "unterminated quoted string" in error.message
    assert "aa01.sql:5" in error.message


@pytest.mark.parametrize(
    ("verify", "wrong"),
    [
        ("SELECT NULL::boolean;", "NULL"),
        ("SELECT true WHERE false;", "no row"),
        ("SELECT true FROM generate_series(1, 3);", "3 rows"),
        ("SELECT 'f'::text;", "a value of type str"),
        ("SELECT count(*) FROM pg_class;", "a value of type int"),
        ("SELECT true, true;", "2 columns"),
        ("VALUES (1.5);", "a value of type Decimal"),
    ],
)
async def test_a_verify_that_gives_no_answer(shop: Project, verify: str, wrong: str) -> None:
    """Anything but one boolean fails the step, names the section, and nothing of it is in the database."""
    error = await failure(shop, f"{HEAD}-- migrator: upgrade\n{TABLE}\n-- migrator: verify\n{verify}\n")
    assert isinstance(error, VerifyFailed)
    assert f"aa01.sql:5: the section verify returned {wrong}" in error.message


async def test_a_deferred_constraint(shop: Project) -> None:
    """What only the end of the transaction refuses is said with the file, and nothing of it is in the database."""
    text = (
        "CREATE TABLE a (id int PRIMARY KEY);\n"
        "CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO b VALUES (7);\n"
    )
    error = await failure(shop, f"{HEAD}-- migrator: upgrade\n{text}")
    assert "could not check the deferred constraints of revisions/aa01.sql: insert or update on table" in error.message
    assert error.failed is not None
    assert error.failed.effect is Effect.NONE


@pytest.mark.parametrize("name", ['"it""s"', '"Mixed Case"', "Orders_By_Id", '"a.b"', '"ünï"'])
@pytest.mark.parametrize("form", ["sql", "py"])
async def test_an_invalid_index_whatever_its_name(shop: Project, name: str, form: str) -> None:
    """The INVALID index of a failed attempt is dropped by the next one; IF NOT EXISTS would keep it."""
    shop.sql("main", "aa01", upgrade="CREATE TABLE orders (id int); INSERT INTO orders VALUES (1), (1);")
    index = f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {name} ON orders (id)"
    if form == "sql":
        shop.sql("main", "bb02", "aa01", upgrade=f"{index};", transaction="off", rerunnable="yes")
    else:
        quoted = index.replace('"', '\\"')
        shop.revision(
            "main", "bb02", "aa01", upgrade=f'await ctx.execute("{quoted}")', transaction=False, rerunnable=True
        )
    async with Migrator.open(load(str(shop.toml), {})) as migrator:
        with pytest.raises(RunFailed, match="could not create unique index"):
            await migrator.upgrade()
        connection = await asyncpg.connect(shop.urls["main"])
        await connection.execute("DELETE FROM orders")
        await migrator.upgrade()
        states = await connection.fetch("SELECT indisvalid FROM pg_index WHERE indrelid = 'orders'::regclass")
        await connection.close()
    assert [row[0] for row in states] == [True]
