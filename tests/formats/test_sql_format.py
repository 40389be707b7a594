"""SQL revisions: sections keep their line numbers, and only PostgreSQL has them."""

from typing import Any

import pytest

from migrator.core.errors import CheckFailed
from migrator.formats import sql

TEXT = "-- T.\n-- revision: aa01\n\n-- migrator: verify\nSELECT true\n\n\n"
TEXT += "  -- migrator: upgrade\r\nSELECT 1;\r\nSELECT 2;  \n\n"


class Recorder:
    """A context that remembers what it was sent."""

    def __init__(self, answer: Any = None) -> None:
        self.sent: list[tuple[str, str]] = []
        self.answer = answer

    async def script(self, text: str) -> None:
        self.sent.append(("script", text))

    async def query(self, text: str, path: str) -> Any:
        self.sent.append((path, text))
        return self.answer


async def test_sections_keep_their_lines() -> None:
    """A section has as many lines above it as in the file, and nothing after its last statement."""
    ctx = Recorder()
    script = sql.load(TEXT, "x.sql")
    await script.upgrade(ctx)
    assert ctx.sent == [("script", "\n" * 8 + "SELECT 1;\nSELECT 2;")]
    assert script.downgrade is None


@pytest.mark.parametrize("answer", [True, False])
async def test_verify_is_one_boolean(answer: bool) -> None:
    """A verify says what its one row and column say; its statement keeps its line."""
    ctx = Recorder([(answer,)])
    verify = sql.load(TEXT, "x.sql").verify
    assert verify is not None
    assert await verify(ctx) is answer
    assert ctx.sent == [("x.sql", "\n" * 4 + "SELECT true")]


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([], "no row"),
        ([(True,), (True,)], "2 rows"),
        ([(True, True)], "2 columns"),
        ([()], "0 columns"),
        ([(None,)], "NULL"),
        ([(1,)], "a value of type int"),
        ([("t",)], "a value of type str"),
    ],
)
async def test_verify_takes_nothing_else_for_an_answer(rows: list[Any], wrong: str) -> None:
    """NULL, no row, several rows and other types fail, and the section is named with its line."""
    verify = sql.load(TEXT, "x.sql").verify
    assert verify is not None
    with pytest.raises(CheckFailed, match=f"^x.sql:4: the section verify returned {wrong};"):
        await verify(Recorder(rows))


@pytest.mark.parametrize("down", [(), ("aa",), ("aa", "bb")])
def test_template_reads_back(down: tuple[str, ...]) -> None:
    """A new file says what it was asked to say, and has three sections that fail."""
    text = sql.template(revision="aa01", title="add  orders", down_revision=down, labels=("x", "y"))
    header = sql.read(text, "x.sql")
    assert (header.title, header.down_revision, header.branch_labels) == ("add orders", down, ("x", "y"))
    assert header.functions == {"upgrade", "downgrade", "verify"}
    assert text.count("of aa01'") == 3
