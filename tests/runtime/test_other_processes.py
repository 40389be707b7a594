"""A revision may use a process pool of any kind, and a program that uses migrator keeps its own hooks."""

import warnings
from pathlib import Path

import pytest

from migrator.config import Config, load
from migrator.core.url import Url
from migrator.runtime.migrator import Migrator
from tests._servers import sql
from tests.acceptance._project import Project

POOL = """
import asyncio, multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

@dataclass
class Row:
    number: int

def double(row):
    return Row(row.number * 2)
"""


def pooled(method: str) -> str:
    """Return the body of an upgrade that lets another process work."""
    return f"""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context({method!r})) as pool:
        row = await asyncio.get_running_loop().run_in_executor(pool, double, Row(21))
    await ctx.execute("CREATE TABLE t AS SELECT $1::int AS number", row.number)
    """


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("inside", [True, False], ids=["in its folder", "from elsewhere"])
def test_process_pools(shop: Project, method: str, inside: bool) -> None:
    """Functions and classes of a revision are found in a worker, wherever the command was started."""
    file = shop.revision("main", "a1", upgrade=pooled(method))
    head, body = file.read_text("utf-8").split("async def", 1)
    file.write_text(f"{head}{POOL}\nasync def{body}", "utf-8")
    config = [] if inside else ["--config", str(shop.toml)]
    if not inside:
        (shop.folder / "elsewhere").mkdir()
        shop.folder = shop.folder / "elsewhere"
    shop.good("upgrade", *config)
    assert sql(shop.urls["main"], "SELECT number FROM t")[0][0] == 42


async def test_warnings_stay_with_the_program(shop: Project) -> None:
    """What a program, or a script, makes of warnings while a command runs is as it was left by them."""
    shop.revision("main", "a1", upgrade="import warnings\nwarnings.showwarning = print")
    before = warnings.showwarning
    try:
        async with Migrator.open(load(str(shop.toml), {})) as migrator:
            await migrator.upgrade()
        assert warnings.showwarning is print
    finally:
        warnings.showwarning = before


def test_a_configuration_made_by_a_program(tmp_path: Path) -> None:
    """The mask knows the password of an address that a program put in, and of one that it changed."""
    toml = tmp_path / "migrator.toml"
    toml.write_text('[databases.main]\nurl = "postgresql://ann:first-pw@h/d"\n')
    read = load(str(toml), {})
    database = read.database("main")

    def changed(config: Config, address: str) -> Config:
        from msgspec.structs import replace

        return replace(config, databases={"main": replace(database, url=Url.parse(address, "here"))})

    config = changed(read, "postgresql://bob:second%2Fpw@h/d")
    assert config.mask()("first-pw second/pw second%2Fpw") == "*** *** ***"
    fields = {name: getattr(config, name) for name in config.__struct_fields__ if name != "hidden"}
    assert Config(**fields).mask()("first-pw second/pw") == "first-pw ***"
    assert read.mask() is read.mask()
