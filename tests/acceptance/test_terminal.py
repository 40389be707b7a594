"""On a terminal of 80 columns nothing folds inside a word: titles are shortened, and columns go below their rows."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

from migrator.cli._table import cells, shortened
from tests.acceptance._project import LIMIT, Project

COLUMNS = 80
TITLE = "Add a column whose title is longer than a line of a terminal can ever be, größer 表 and larger"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
WALK = """
async for batch in ctx.batches("rows", name="the_column_of_all_rows"):
    async with batch:
        await ctx.execute(f"UPDATE rows SET n = 1 WHERE {batch.where}", *batch.args)
"""


def shown(project: Project, *words: str) -> list[str]:
    """Run a command on a terminal, and return every line that it ever showed, without its colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    with subprocess.Popen(
        project.command(*words),
        cwd=project.folder,
        env=project.environ({"TERM": "xterm-256color"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as program:
        os.close(theirs)
        text = b""
        try:
            while piece := os.read(ours, 1 << 16):
                text += piece
        except OSError:  # the other end is closed: the program has ended
            pass
        os.close(ours)
        program.wait(LIMIT)
    return [line.rstrip() for line in re.split(r"[\r\n]+", CONTROL.sub("", text.decode())) if line.strip()]


def test_tables_and_progress(shop: Project) -> None:
    """The lines of a deploy with a moving bar, and every table, have at most 80 cells; sentences are not cut."""
    shop.revision("main", "3f2a91c7d0e1", upgrade='await ctx.execute("CREATE TABLE rows (id int PRIMARY KEY, n int)")')
    shop.revision("main", "3f2a91c7d0e2", "3f2a91c7d0e1", upgrade=WALK)
    shop.revision("main", "3f2a91c7d0e3", "3f2a91c7d0e2", upgrade=f"raise ValueError({TITLE!r})")
    for file in shop.revisions("main").iterdir():
        text = file.read_text("utf-8").replace(f"Title of {file.stem}", TITLE)
        insert = 'await ctx.execute("INSERT INTO rows SELECT g FROM generate_series(1, 20000) g")\n'
        file.write_text(text + (f"    {insert}" if file.stem.endswith("1") else ""), "utf-8")
    lines = [*shown(shop, "upgrade", "3f2a91c7d0e2", "--dry-run"), *shown(shop, "upgrade", "3f2a91c7d0e2")]
    assert any("rows" in line and "━" in line for line in lines), lines
    shop.run("upgrade", "head")
    for words in (("status",), ("history",), ("runs",), ("stats",), ("heads",)):
        lines += shown(shop, *words)
    known = set(re.findall(r"[\w:.-]+", TITLE))
    for line in lines:
        if not line.startswith(("Forecast", "  about", "main  postgresql", "  next:")):
            assert cells(line) <= COLUMNS, line
        for word in re.findall(r"\w+(?=…)", line):
            assert word in known or "main:" in line or "Title" in line or "[" in line, line
    assert any("whose title is…" in line or "whose title…" in line for line in lines), lines


def test_a_pipe_gets_everything(shop: Project) -> None:
    """Where no terminal is, nothing is shortened."""
    file = shop.table("main", "a1")
    file.write_text(file.read_text("utf-8").replace("Title of a1", TITLE), "utf-8")
    assert TITLE in shop.good("status").stdout
    assert TITLE in shop.good("upgrade").stdout


def test_shortened() -> None:
    """A text is cut between words, and a wide letter counts twice."""
    for text, room, expected in (
        ("add a column", 12, "add a column"),
        ("add a column", 11, "add a…"),
        ("add a column", 6, "add a…"),
        ("add a column", 5, "add…"),
        ("unbreakable", 5, "unbr…"),
        ("x unbreakable", 8, "x unbre…"),
        ("表表表", 5, "表表…"),
        ("表表表", 6, "表表表"),
        ("add", 1, "…"),
        ("add", 0, ""),
    ):
        assert shortened(text, room) == expected, (text, room)
        assert cells(expected) <= room
