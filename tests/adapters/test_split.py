"""An SQL text in its statements."""

import sys

import pytest

from migrator.adapters.postgres._split import statements
from migrator.core.errors import DependencyMissing

TRICKY = """

-- a remark; with a semicolon, and an é
CREATE TABLE a (t text DEFAULT 'ü;');
/* one /* in another; */ ; */ INSERT INTO a VALUES (E'it\\';s');
CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;
DO $x$ BEGIN PERFORM ';'; END $x$;
-- the end;
"""


def test_a_tricky_text() -> None:
    """Strings, remarks, dollar quotes and bodies keep their semicolons; each statement keeps its line."""
    found = statements(TRICKY, "x.sql")
    assert [part.count("\n") + 1 for part in found] == [4, 5, 6, 7]
    assert [part.strip().split()[0] for part in found] == ["CREATE", "INSERT", "CREATE", "DO"]


@pytest.mark.parametrize("text", ["", "VACUUM", "VACUUM;", "\n\nVACUUM ;\n", "SELEC 1; SELECT 2"])
def test_what_stays_whole(text: str) -> None:
    """None, one, and what the parser cannot read: the server says what is wrong with it."""
    assert statements(text, "x.sql") == [text]


def test_without_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several statements are refused with the file and two ways out; a single one needs no parser."""
    monkeypatch.setitem(sys.modules, "postgast", None)
    assert statements("\nVACUUM;\n", "x.sql") == ["\nVACUUM;\n"]
    with pytest.raises(DependencyMissing, match=r"x\.sql has several statements") as caught:
        statements("VACUUM; VACUUM", "x.sql")
    assert "polymigrator[lint]" in caught.value.hint
    assert "a revision of its own" in caught.value.hint
