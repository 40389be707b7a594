"""A forgotten `await`, as the syntax tree shows it."""

import ast
from textwrap import dedent, indent

import pytest

from migrator.formats._awaits import forgotten

FORGOTTEN = [
    ('ctx.execute("SELECT 1")', "ctx.execute"),
    ('ctx.fetch("SELECT 1")', "ctx.fetch"),
    ('ctx.conn.execute("SELECT 1")', "ctx.conn.execute"),
    ("session = ctx.session\nsession.add(1)\nsession.flush()", "session.flush"),
    ('ctx.db.users.insert_one({"_id": 1})', "ctx.db.users.insert_one"),
    ('ctx.db["users"].update_many({}, {})', "ctx.db['users'].update_many"),
    ('ctx.db.command("ping")', "ctx.db.command"),
    ('ctx.db.get_collection("users").drop()', "ctx.db.get_collection('users').drop"),
    ("db = ctx.db\nusers = db.users\nusers.delete_many({})", "users.delete_many"),
    ('async with ctx.database("events") as events:\n    events.db.things.drop()', "events.db.things.drop"),
    ('async for batch in ctx.batches("rows"):\n    async with batch:\n        batch.rows()', "batch.rows"),
    ('async for batch in ctx.batches("rows"):\n    async with batch:\n        ctx.execute("x")', "ctx.execute"),
    ("if True:\n    try:\n        helper(ctx)\n    finally:\n        pass", "helper"),
    ("async def inner():\n    ctx.execute('x')\nawait inner()", "ctx.execute"),
]
FINE = [
    'await ctx.execute("SELECT 1")',
    'ctx.log.info("x")',
    "ctx.check(True, 'x')",
    "session = ctx.session\nsession.add(1)",
    "cursor = other.cursor()\ncursor.execute('SELECT 1')",
    "ctx.db.users.find({})",
    "batch.update(1, n=2)",
    "plain(ctx)",
    "helper = print\nhelper(ctx)",
    "stream(ctx)",
    "asyncio.gather(ctx.execute('x'))",
    "lines = []\nlines.insert_one(1)",
    "ctx.op.execute('SELECT 1')",
]
HELPERS = """
async def helper(ctx): await ctx.execute("x")
async def stream(ctx): yield 1
def plain(ctx): pass
"""


def found(body: str, function: str = "upgrade") -> dict[str, str]:
    """Return what is found in a function with this body, and in the helpers."""
    text = f"{HELPERS}\nasync def {function}(ctx):\n{indent(body, '    ')}\n"
    return {name: call for name, (_, call) in forgotten(ast.parse(text)).items()}


@pytest.mark.parametrize(("body", "call"), FORGOTTEN)
def test_what_is_forgotten(body: str, call: str) -> None:
    """A bare call of a coroutine function on what the script was given, or of one of the file's own."""
    assert found(body) == {"upgrade": call}


@pytest.mark.parametrize("body", FINE)
def test_what_is_not(body: str) -> None:
    """Calls that are awaited, that are of ordinary functions, or of which the tree does not tell what they are."""
    assert found(body) == {}


def test_which_function() -> None:
    """Each fault is reported for its own function; one of a helper is nobody's, with the first line."""
    text = dedent("""
        class A(Script):
            async def upgrade(self, ctx):
                self.more(ctx)
                ctx.execute("x")
            async def verify(self, context):
                context.value("x")
            async def more(self, ctx):
                await ctx.execute("x")
                ctx.execute("y")
    """)
    assert forgotten(ast.parse(text)) == {
        "upgrade": (4, "self.more"),
        "verify": (7, "context.value"),
        "": (10, "ctx.execute"),
    }
