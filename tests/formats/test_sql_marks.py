"""SQL files: a comment that was meant to be a mark is refused, and an ordinary remark is left alone."""

import pytest

from migrator.core.errors import RevisionFileError
from migrator.formats import sql

HEAD = "-- Add orders.\n-- revision: aa01\n\n-- migrator: upgrade\nCREATE TABLE orders (id int);\n"
DOWN = "`-- migrator: downgrade`"
NO_FIRST_LINE = 6

MARKS = [
    *("-- Migrator: Downgrade", "-- MIGRATOR: DOWNGRADE", "-- migrator: Downgrade", "--Migrator:downgrade"),
    *("-- migrator downgrade", "-- migrator = downgrade", "-- migrator - downgrade", "-- migrator:: downgrade"),
    *("-- migrator: down", "-- migrator: downgrade;", "-- migrator: downgrade:", "-- migrator: rollback"),
    *("-- migrater: downgrade", "-- migratr: downgrade", "-- migration: downgrade", "-- migrate: downgrade"),
    *("--- migrator: downgrade", "-- @migrator: downgrade", "-- [migrator: downgrade]", "-- -- migrator: downgrade"),
    *("/* migrator: downgrade */", "/*migrator:downgrade*/", "/*\n * migrator: downgrade\n */", "/* Down */"),
    *("SELECT 1; -- migrator: downgrade", "SELECT 1 /* migrator: downgrade */;", "\t--\tMigrator:\tDowngrade\t"),
    *("--\u00a0migrator: downgrade", "-- migrator\uff1a downgrade", "-- migrator:\u00a0downgrade"),
    *("-- migrate:down", "-- migrate: down", "-- MIGRATE:DOWN", "--migrate:down", "-- migrate:down transaction:false"),
    *("-- +goose Down", "-- +goose down", "--+goose Down", "-- + goose Down", "-- goose Down", "-- +GOOSE DOWN"),
    *("-- +migrate Down", "-- +migrate Down notransaction", "-- +micrate Down", "-- rambler down", "-- !Downs"),
    *("-- Down", "-- down", "-- DOWN:", "-- ==== DOWN ====", "-- Down Migration", "-- Downgrade", "-- downgrade:"),
    *("-- rollback", "-- Rollback:", "-- rollback DROP TABLE orders;", "--rollback drop table orders", "-- @UNDO"),
    *("-- rollback: DROP TABLE orders", "-- undo", "-- Flyway undo", "-- yoyo rollback", "-- //@UNDO", "-- revert"),
    *(
        "-- name: down",
        "-- name: Down!",
        "-- mig:down",
        "-- pgmigrate: down",
        "-- direction = down",
        "/* phase: undo */",
    ),
    *("-- begin down", "-- section: downgrade", "-- Down script", "-- migrator: upgrade and downgrade"),
    *("---- create above / drop below ----", "-- Revert app:orders from pg", "-- changeset bob:2"),
]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_that_is_none(mark: str, ends: str) -> None:
    """What follows would run in the upgrade: refused with the file, the line and the right spelling."""
    text = f"{HEAD}{mark}\nDROP TABLE orders;\n".replace("\n", ends)
    with pytest.raises(RevisionFileError, match=r"^revisions/aa01\.sql:[67]: ") as caught:
        sql.read(text, "revisions/aa01.sql")
    assert DOWN in caught.value.hint


@pytest.mark.parametrize(
    ("mark", "hint"),
    [
        ("-- migrate:up", "`-- migrator: upgrade`"),
        ("-- +goose Up", "`-- migrator: upgrade`"),
        ("-- Up Migration", "`-- migrator: upgrade`"),
        ("-- Migrator: Verify", "`-- migrator: verify`"),
        ("-- +goose StatementBegin", "Remove it"),
        ("-- +migrate StatementEnd", "Remove it"),
        ("-- +goose NO TRANSACTION", "`-- transaction: off`"),
        ("-- migrate:up transaction:false", "`-- transaction: off`"),
        ("-- transaction off", "`-- transaction: off`"),
        ("-- Transaction: off", "`-- transaction: off`"),
        ("/* transaction: off */", "`-- transaction: off`"),
        ("-- migrator: UPGRADE", "`-- migrator: upgrade`"),
    ],
)
def test_above_the_first_section(mark: str, hint: str) -> None:
    """The marks of other tools, and keys in another form, are refused above the first section, too."""
    text = f"-- Add orders.\n-- revision: aa01\n{mark}\n\n-- migrator: upgrade\nSELECT 1;\n"
    with pytest.raises(RevisionFileError, match=r":3: ") as caught:
        sql.read(text, "x.sql")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "body",
    [
        "INSERT INTO notes VALUES ('\n-- migrator: downgrade\n-- +goose Down\n');",
        "DO $$ BEGIN\n-- migrator: downgrade\nEND $$;",
        "DO $body$\n-- Down\n/* migrator: downgrade */ ' $$ $body$;",
        'SELECT 1 AS "\n-- Down\n";',
        "SELECT E'\\'\n-- Down\n';",
        "SELECT 'it''s\n-- rollback\n';",
        "-- Rollback of this needs a backup.\nSELECT 1;",
        "-- The migrator runs it in one transaction.\nSELECT 1;",
        "-- down payments are kept\nSELECT 1;",
        "-- arrow keys: down moves the row\nSELECT 1;",
        "-- direction: down payments first\nSELECT 1;",
        "-- see https://example.com/migrate\nSELECT 1;",
        "/* /* verify */ nested, not a mark by itself */ SELECT 1;",
        "-- up to 10 rows\nSELECT 1;",
        "-- ---------------\nSELECT 1;",
        "/*+ SeqScan(orders) */ SELECT 1;",
    ],
)
def test_what_is_no_mark(body: str) -> None:
    """Inside of literals nothing is a mark, and a remark in words is a remark."""
    text = f"-- Revert: the new prices.\n-- revision: aa01\n\n-- migrator: upgrade\n{body}\n"
    header = sql.read(text, "x.sql")
    assert header.functions == {"upgrade"}
    assert header.title == "Revert: the new prices"


@pytest.mark.parametrize("value", ["off", "no", "false", "OFF", "False"])
def test_words_for_no(value: str) -> None:
    """A switch takes every word that people write for off."""
    text = f"-- revision: aa01\n-- transaction: {value}\n-- rerunnable: yes\n\n-- migrator: upgrade\nVACUUM;\n"
    header = sql.read(text, "x.sql")
    assert (header.transaction, header.rerunnable) == (False, True)


def test_block_comments_above_the_first_section() -> None:
    """A licence or a description in a block comment is no SQL."""
    text = "/*\n * Add orders.\n * For the shop.\n */\n-- revision: aa01\n-- migrator: upgrade\nSELECT 1\n"
    assert sql.read(text, "x.sql").title == "Add orders"
