"""The lexical structure of an SQL text."""

import pytest

from migrator.core.sql import Kind, pieces, statements, tokens, transaction_command

TRICKY = """

-- a remark; with a semicolon, and an é
CREATE TABLE a (t text DEFAULT 'ü;');
/* one /* in another; */ ; */ INSERT INTO a VALUES (E'it\\';s');
CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END;
DO $x$ BEGIN PERFORM ';'; END $x$;
CREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2);
SELECT a$b$; SELECT 1 AS "x;y""z;", $1, U&'x;', e'a'
  'b\\';c';
CREATE PROCEDURE p(begin int, "begin" text) BEGIN ATOMIC ; SELECT 1; END;
SELECT B'1;', x'a;' , note'x\\', ';';;
CREATE FUNCTION g() RETURNS int AS $é1$ SELECT 1; $é1$;
;
-- the end;
"""


def test_a_tricky_text() -> None:
    """Strings, remarks, dollar quotes, rules and bodies keep their semicolons."""
    found = list(statements(TRICKY))
    assert [" ".join(each.words(TRICKY, 2)) for each in found] == [
        *("create table", "insert into", "create function", "do", "create rule", "select a$b$", "select as"),
        *("create procedure", "select", "create function"),
    ]
    assert [TRICKY[each.start : each.end].count("\n") for each in found] == [0] * 6 + [1] + [0] * 3


VALID = """
CREATE TABLE a (t text DEFAULT 'ü;');
/* one /* in another; */ ; */ INSERT INTO a VALUES (E'it\\';s'), (U&'x;'), (e'a'
  'b\\';c');
CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END;
CREATE OR REPLACE PROCEDURE p(x int) BEGIN ATOMIC SELECT 1; END; DO $x$ BEGIN PERFORM ';'; END $x$;
CREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2);
SELECT a$b$; SELECT 1 AS "x;y""z;"; SELECT $é1$ SELECT 1; $é1$; SELECT B'1', x'a', text'x\\', ';'
"""


def test_the_parser_agrees() -> None:
    """PostgreSQL's own parser cuts a text at the same places."""
    from postgast import split

    def without_remarks(part: str) -> str:
        return part[next(statements(part)).start :].rstrip(";\n")

    ours = [VALID[each.start : each.end].rstrip(";\n") for each in statements(VALID)]
    assert ours == [without_remarks(part) for part in split(VALID)]


def test_pieces_are_the_text() -> None:
    """No character is lost or doubled."""
    assert "".join(TRICKY[each.start : each.end] for each in pieces(TRICKY)) == TRICKY


@pytest.mark.parametrize("text", ["SELECT 'a", "SELECT E'a\\'", 'SELECT "a', "$a$ $b$", "/* /* */", "U&'a", "e'"])
def test_what_stays_open(text: str) -> None:
    """A quote that is never closed reaches to the end."""
    assert [each.kind for each in pieces(text)][-1] is Kind.OPEN


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("SELECT a=-1;", "select\n  A = - 1 -- one\n;", True),
        ("SELECT '/* x */ --y'", "SELECT  '/* x */ --y' /* z */", True),
        ("SELECT 'a  b'", "SELECT 'a b'", False),
        ('SELECT "A"', 'SELECT "a"', False),
        ("SELECT a <- 1", "SELECT a < - 1", True),
        ("SELECT a @- 1", "SELECT a @ - 1", False),
        ("SELECT $$a b$$", "SELECT $$a  b$$", False),
        ("SELECT ab", "SELECT a b", False),
        ("SELECT 1.5e3", "SELECT 1.5 e3", False),
        ("SELECT a->>'b'", "SELECT a ->> 'b'", True),
    ],
)
def test_tokens(text: str, other: str, same: bool) -> None:
    """Layout, remarks and the case of plain words do not count; what is between quotes does."""
    assert (list(tokens(text)) == list(tokens(other))) is same


def test_cut_in_linear_time() -> None:
    """Every character of a long file is looked at a bounded number of times: the pieces are as many as the text has."""
    text = "INSERT INTO t VALUES (1, 'it''s');\n" * 2000
    assert sum(1 for _ in statements(text)) == 2000
    assert sum(each.end - each.start for each in pieces(text)) == len(text)


def test_masked() -> None:
    """A statement is shown on one line, without what may be data."""
    (found,) = statements("INSERT INTO a /* x */\n VALUES ('secret', $$other$$, 7);")
    assert found.masked("INSERT INTO a /* x */\n VALUES ('secret', $$other$$, 7);") == (
        "INSERT INTO a VALUES ('***', '***', ***)"
    )


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("commit and chain", "COMMIT"),
        ("rollback to a", ""),
        ("rollback work to a", ""),
        ("rollback transaction", "ROLLBACK"),
        ("prepare transaction", "PREPARE TRANSACTION"),
        ("prepare s as", ""),
        ("start transaction", "START TRANSACTION"),
        ("release a", ""),
        ("savepoint a", ""),
        ("", ""),
    ],
)
def test_transaction_commands(words: str, command: str) -> None:
    """Savepoints stay inside of a transaction, everything else of the kind ends or begins one."""
    assert transaction_command(words.split()) == command
