"""The fast way to read Python gives the answer of the slow one, or none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.errors import RevisionFileError
from migrator.core.revision import Header
from migrator.formats._scan import scan
from migrator.formats._text import decode, unix_lines
from migrator.formats._tree import parse

GOLDEN = Path(__file__).parent / "golden"
FAST = {"schema_change.py", "every_constant.py", "backfill.py", "text_that_looks_like_code.py", "windows_lines.py"}

VALUES = [
    '"aa01"',
    "'aa02'",
    '("a", "b")',
    '("a",)',
    '["a"]',
    "()",
    "None",
    "True",
    "False",
    "90",
    "0",
    '"10m"',
    '"bad id"',
]
NAMES = ["revision", "down_revision", "depends_on", "tags", "transaction", "timeout", "rerunnable", "on_failed_verify"]
CONSTANTS = st.builds("{} = {}\n".format, st.sampled_from(NAMES), st.sampled_from(VALUES))
OPENINGS = [
    "",
    '"""A title."""\n',
    '# note\n\n"""Two\nlines."""  # end\n',
    "'''Other quotes.'''\n",
    '"""a""" """b"""\n',
]
LINES = [
    "\n", "# revision = 'no'\n", "import os\n", "from os import path as tags\n", "import verify.x\n", "FILL = 1\n",
    "X = revision = 'x'\n", "X = (\n    timeout\n) = 5\n",
    "Y = '''\nrevision = 1\n'''\n", "orders = dict(\nrevision=1)\n",
    "if True:\n    tags = ()\n", "timeout: int = 5\n",
    "x = 1; tags = ()\n", "TAGS = [\n    1,\n]\n", "X = 1; tags = 'b'\n",
    "Z = \\\n5\n",
]  # fmt: skip
BODIES = [
    "async def upgrade(ctx): ...\n",
    "async def downgrade(\n    ctx,\n) -> None:\n    pass\n",
    "async def verify(ctx):\n    return f'''\nasync def downgrade(ctx): ...\n'''\n",
    'async def rows(ctx):\n    x = """\nasync def verify(ctx): ...\n"""\n',
    "def upgrade(ctx): ...\n",
    "def plain():\n    '#\"'; x = '\\''\n",
    'def braces(d):\n    return f"{d[1]} {{#}}" + "\'\'\'" # """\n',
    "def trick():\n    pass\n    \\\nasync def verify(ctx): ...\n",
    "class Tags:\n    tags = 1\n",
    "@property\nasync def upgrade_rows(ctx): ...\n",
    "_PRIVATE = {\n    'revision': 1,\n}\n",
]


def agree(text: str) -> Header | None:
    """Compare the two ways on one text and return the answer of the fast one."""
    fast = scan(text, "a_title.py")
    if fast is not None:
        assert fast == parse(text, "a_title.py")
    return fast


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in sorted(GOLDEN.glob("*/*.py"))])
def test_golden(path: Path) -> None:
    """On every golden file the two agree where both accept it, and ordinary files take the fast way."""
    try:
        text = unix_lines(decode(path.read_bytes(), path.name))
        slow = parse(text, path.name)
    except RevisionFileError:
        return
    fast = scan(text, path.name)
    assert fast in (None, slow)
    assert fast is not None or path.name not in FAST


@given(
    opening=st.sampled_from(OPENINGS),
    head=st.lists(CONSTANTS | st.sampled_from(LINES), max_size=6),
    body=st.lists(st.sampled_from(BODIES + LINES), max_size=5),
)
def test_generated(opening: str, head: list[str], body: list[str]) -> None:
    """Whatever stands where, a file that the fast way accepts reads the same with `ast`."""
    agree(opening + 'revision = "zz"\n' + "".join(head) + "async def upgrade(ctx): ...\n" + "".join(body))


@given(
    head=st.lists(CONSTANTS | st.sampled_from(LINES), max_size=6), body=st.lists(st.sampled_from(BODIES), max_size=4)
)
def test_generated_from_nothing(head: list[str], body: list[str]) -> None:
    """The same without anything that makes the file a good one."""
    agree("".join(head) + "".join(body))


@given(
    inside=st.text(alphabet="\"'\\#{}\nf ()r1", max_size=14),
    quote=st.sampled_from(['"', "'", '"""', "'''"]),
    prefix=st.sampled_from(["", "f", "rf", "r", "b"]),
)
def test_quotes(inside: str, quote: str, prefix: str) -> None:
    """However quotes are nested, the fast way knows text from code wherever Python accepts the file."""
    upgrade = f"async def upgrade(ctx):\n    x = {prefix}{quote}{inside}{quote}\n"
    text = f'revision = "a"\n{upgrade}async def verify(ctx): ...\n#"""\n'
    try:
        compile(text, "x.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, SyntaxWarning):
        return
    agree(text)


def test_broken_body_is_left_to_load() -> None:
    """A syntax error inside a function does not slow down reading: `load` reports it."""
    assert scan('revision = "a"\nasync def upgrade(ctx):\n    return (\n', "x.py") is not None
