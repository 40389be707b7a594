"""Which edits of a file are layout, which concern only the way back, and which change what an upgrade does."""

from textwrap import dedent

import pytest

from migrator.formats import python, sql

PYTHON = '''
"""Title."""
from migrator.adapters.postgres import Context

revision = "a1"
down_revision = None
timeout = "5m"

NAMES = ["a", "b"]
GONE = ["c"]


def helper(name):
    """Say it."""
    return f"CREATE TABLE {name} (id int)"


async def upgrade(ctx: Context) -> None:
    """Make tables."""
    for name in NAMES:
        await ctx.execute(helper(name))
    del (NAMES, name)


async def downgrade(ctx: Context) -> None:
    await ctx.execute("DROP TABLE a, b")


async def verify(ctx: Context) -> bool:
    return True
'''
SQL = """-- Title
-- revision: a1
-- down_revision: none

-- migrator: upgrade
CREATE TABLE a (id int, note text DEFAULT 'x -- y');

-- migrator: downgrade
DROP TABLE a;
"""


@pytest.mark.parametrize(
    ("old", "new", "layout", "upgrade"),
    [
        ("for name", "# a comment\n    for name", True, True),
        ('"""Title."""', "'''Another title, in other quotes.'''", True, True),
        ('"""Make tables."""', '"""Make   the tables.\n\n    Both.\n    """', True, True),
        ('["a", "b"]', '[\n    "a",\n    "b",\n]', True, True),
        ('"a1"', "'a1'", True, True),
        ("del (NAMES, name)", "del NAMES, name", True, True),
        ("    return True\n", "    return True", True, True),
        ("    return True\n", "    return True\n\n\n", True, True),
        ("DROP TABLE a, b", "DROP TABLE b, a", False, True),
        ("return True", "return 1 == 1", False, True),
        ('GONE = ["c"]', 'GONE = ["d"]', False, True),
        ("NAMES =", "import json\nNAMES =", False, True),
        ("async def downgrade", "async def undo(ctx): ...\n\n\nasync def downgrade", False, True),
        ('["a", "b"]', '["a", "c"]', False, False),
        ("CREATE TABLE {name}", "CREATE TABLE  {name}", False, False),
        ('timeout = "5m"', 'timeout = "6m"', False, False),
        ("import Context", "import Context\nfrom app import models as NAMES", False, False),
        ("async def upgrade", "@decorated\nasync def upgrade", False, False),
        ("def helper(name):", "def helper(name, other=None):", False, False),
        ("async def verify", "async def validate(ctx): ...\n\n\nasync def verify", False, False),
    ],
)
def test_an_edit_of_python(old: str, new: str, *, layout: bool, upgrade: bool) -> None:
    """Comments, blanks, quotes and docstrings are layout; what only the way back uses does not concern the upgrade."""
    before, after = dedent(PYTHON), dedent(PYTHON).replace(old, new, 1)
    assert before != after
    assert (python.parts(before) == python.parts(after)) is layout
    assert (python.parts(before)[0] == python.parts(after)[0]) is upgrade


def test_a_class_in_place_of_functions() -> None:
    """The methods of a Script class count as the functions do."""
    text = 'from migrator import Script\nrevision = "a1"\nclass A(Script):\n    async def upgrade(self, ctx): a\n'
    back = "    async def downgrade(self, ctx): b\n"
    assert python.parts(text)[0] == python.parts(text + back)[0]
    assert python.parts(text + back) != python.parts(text + back.replace(": b", ": c"))
    assert python.parts(text)[0] != python.parts(text.replace(": a", ": c"))[0]


@pytest.mark.parametrize(
    ("old", "new", "layout", "upgrade"),
    [
        ("CREATE", "-- a comment\nCREATE", True, True),
        ("CREATE", "/* a /* nested */ comment */ create", True, True),
        ("(id int, note", "(\n  id int,\n  note", True, True),
        ("DROP TABLE a;\n", "DROP TABLE a", True, True),
        ("-- Title", "-- Another title", True, True),
        ("-- down_revision: none", "-- down_revision:   none", True, True),
        ("DROP TABLE a", "DROP TABLE IF EXISTS a", False, True),
        ("'x -- y'", "'x'", False, False),
        ("'x -- y'", "'x  -- y'", False, False),
        ("'x -- y'", "'X -- y'", False, False),
        ("id int", '"ID" int', False, False),
        ("-- down_revision: none", "-- down_revision: none\n-- timeout: 5m", False, False),
    ],
)
def test_an_edit_of_sql(old: str, new: str, *, layout: bool, upgrade: bool) -> None:
    """Comments and blanks outside of literals are layout; the sections of the way back do not concern the upgrade."""
    before, after = SQL, SQL.replace(old, new, 1)
    assert before != after
    assert (sql.parts(before) == sql.parts(after)) is layout
    assert (sql.parts(before)[0] == sql.parts(after)[0]) is upgrade
