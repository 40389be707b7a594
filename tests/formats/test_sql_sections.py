"""SQL files: what a section may hold is checked when the file is read, with the line."""

import re

import pytest

from migrator.core.errors import RevisionFileError
from migrator.formats import sql

HEAD = "-- Add orders.\n-- revision: aa01\n"


def refused(upgrade: str, keys: str = "", verify: str = "") -> RevisionFileError:
    """Read a file whose upgrade begins on line 4 (5 with a key) and return why it is refused."""
    text = f"{HEAD}{keys}-- migrator: upgrade\n{upgrade}\n" + (f"-- migrator: verify\n{verify}\n" if verify else "")
    with pytest.raises(RevisionFileError) as caught:
        sql.read(text, "x.sql")
    return caught.value


COMMANDS = [
    *("BEGIN", "begin", "Begin Work", "BEGIN ISOLATION LEVEL SERIALIZABLE", "START TRANSACTION", "start transaction"),
    *("COMMIT", "commit work", "COMMIT AND CHAIN", "COMMIT /* now */ AND -- then\n NO CHAIN", "END", "END TRANSACTION"),
    *("ABORT", "ROLLBACK", "ROLLBACK AND CHAIN", "ROLLBACK WORK", "PREPARE TRANSACTION 'x'", "COMMIT PREPARED 'x'"),
    *("/* a; /* b; */ */ COMMIT", "ROLLBACK PREPARED 'x'", ";; COMMIT"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_transaction_commands(command: str) -> None:
    """A section in a transaction that would end it is refused with the line and what to do."""
    error = refused(f"INSERT INTO a VALUES (1);\n{command};\nINSERT INTO a VALUES (2);")
    assert error.line == 5
    assert re.match(r"x\.sql:5: [A-Z ]+ in the section upgrade, which runs in a transaction", error.message)
    assert "`-- transaction: off`" in error.hint


@pytest.mark.parametrize("command", COMMANDS)
def test_transaction_commands_without_a_transaction(command: str) -> None:
    """Without a transaction of ours the file may have its own."""
    text = f"{HEAD}-- transaction: off\n-- migrator: upgrade\nINSERT INTO a VALUES (1);\n{command};\n"
    assert sql.read(text, "x.sql").transaction is False


def test_transaction_command_without_a_semicolon() -> None:
    """The last statement counts also without its semicolon, in every section."""
    assert refused("SELECT 1;\nCOMMIT").line == 5
    text = f"{HEAD}-- migrator: upgrade\nSELECT 1;\n-- migrator: downgrade\nSELECT 2;\nCOMMIT\n"
    with pytest.raises(RevisionFileError, match=r"x\.sql:7: COMMIT in the section downgrade"):
        sql.read(text, "x.sql")


@pytest.mark.parametrize(
    "body",
    [
        "SAVEPOINT a;\nROLLBACK TO a;\nROLLBACK WORK TO SAVEPOINT a;\nRELEASE a;",
        "DO $$ BEGIN PERFORM 1; END $$;",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END;",
        "CREATE OR REPLACE PROCEDURE p(begin_at int) BEGIN ATOMIC\n INSERT INTO a VALUES (1);\nEND;\nSELECT 1;",
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $f$\nBEGIN\n  COMMIT;\nEND;\n$f$;",
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS '\nBEGIN\n  COMMIT;\nEND;\n';",
        "CREATE RULE r AS ON INSERT TO a DO ALSO (SELECT 1; SELECT 2);",
        "SELECT 'x;\nCOMMIT;\n';",
        "-- COMMIT;\n/* COMMIT; */ SELECT 1;",
        "PREPARE s AS SELECT 1;",
        'SELECT 1 AS "a;\nCOMMIT;\n";',
        "SELECT a$b$;",
        "SELECT E'a\\';\nCOMMIT;\n';",
        "SELECT price::text || ' $' FROM a;",
        "SET LOCAL lock_timeout = '2s';\nSET TRANSACTION ISOLATION LEVEL SERIALIZABLE;",
        "\\restrict 7fP\nSELECT 1;\n\\unrestrict 7fP",
    ],
)
def test_what_is_no_transaction_command(body: str) -> None:
    """Bodies of functions, blocks, literals, remarks and savepoints are left alone."""
    text = f"{HEAD}-- migrator: upgrade\n{body}\n-- migrator: downgrade\nSELECT 1;\n"
    assert sql.read(text, "x.sql").functions == {"upgrade", "downgrade"}


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ("SELECT 1;\n\\c other", r"\c is a command of psql", "folder"),
        ("SELECT 1;\n\\connect other", r"\connect is a command of psql", "folder"),
        ("SELECT 1\n\\gexec", r"\gexec is a command of psql", "EXECUTE format"),
        ("SELECT 1;\n\\set ON_ERROR_STOP on", r"\set is a command of psql", "remove it"),
        ("SELECT 1;\n\\i other.sql", r"\i is a command of psql", "this file"),
        ("SELECT 1;\n\\copy a FROM 'a.csv'", r"\copy is a command of psql", "INSERT"),
        ("SELECT 1;\nCOPY a (id) FROM stdin;\n1\t'it\n\\.", "COPY FROM STDIN needs a client", "--rows-per-insert"),
        ("SELECT 1;\nCOPY a TO STDOUT;", "COPY TO STDOUT needs a client", "INSERT"),
        ("SELECT 1;\nSELECT 'it", "a quote is opened in the section upgrade and never closed", "twice"),
        ("SELECT 1;\nSELECT E'it\\'", "a quote is opened", "twice"),
        ('SELECT 1;\nSELECT 1 AS "a', "a quoted name is opened", "twice"),
        ("SELECT 1;\nDO $x$ BEGIN END $$;", "a dollar quote is opened", "Close it"),
        ("SELECT 1;\n/* a /* b */ SELECT 1;", "a comment is opened", "Close it"),
    ],
)
def test_what_the_server_does_not_know(body: str, message: str, hint: str) -> None:
    """Commands of psql, rows between statements, and quotes that stay open are refused with line and way out."""
    for keys, line in (("", 5), ("-- transaction: off\n", 6)):
        error = refused(body, keys)
        assert (error.line, message in error.message, hint in error.hint) == (line, True, True), error


async def test_restrict_is_left_out() -> None:
    """The two commands around the output of pg_dump are not sent, and the lines stay where they are."""
    sent: list[str] = []

    class Context:
        async def script(self, text: str) -> None:
            sent.append(text)

    text = f"{HEAD}-- migrator: upgrade\n\\restrict 7fP\nSELECT 1; -- one\n\\unrestrict 7fP\n"
    await sql.load(text, "x.sql").upgrade(Context())
    assert sent == ["\n" * 4 + "SELECT 1; -- one"]


@pytest.mark.parametrize(
    ("verify", "message"),
    [
        ("SELECT true;\nSELECT false;", "x.sql:7: the section verify has more than one statement"),
        ("EXPLAIN SELECT true;", "x.sql:6: the section verify is an EXPLAIN"),
        ("explain (analyze) SELECT true;", "x.sql:6: the section verify is an EXPLAIN"),
        ("COMMIT;", "x.sql:6: COMMIT in the section verify"),
        ("-- SELECT true;", "x.sql:5: the section verify is empty"),
        ("/* SELECT true; */ ;", "x.sql:5: the section verify is empty"),
    ],
)
def test_verify_is_one_query(verify: str, message: str) -> None:
    """A verify that could not answer yes or no is refused, and named."""
    error = refused("SELECT 1;", verify=verify)
    assert message in error.message
