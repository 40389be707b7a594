"""What a script sets for its session: the tracker writes as ourselves, and nothing of it meets whoever comes next."""

from collections.abc import Callable, Iterator

import asyncpg
import pytest

from migrator import Migrator
from migrator.config import load
from migrator.core.errors import RunFailed
from tests._servers import new_name, sql
from tests.acceptance._project import Project
from tests.faults._pg import runs
from tests.faults._pgbouncer import Pooler

SESSION = """
    SELECT current_user, session_user, current_setting('search_path'), current_setting('work_mem'),
           current_setting('lock_timeout'), (SELECT count(*) FROM pg_prepared_statements WHERE from_sql),
           (SELECT count(*) FROM pg_cursors WHERE is_holdable), (SELECT count(*) FROM pg_listening_channels()),
           to_regclass('pg_temp.kept')::text
"""
LEAVES = [
    "SET search_path = elsewhere, public",
    "SET work_mem = '7MB'; SET lock_timeout = '7s'",
    "CREATE TEMP TABLE kept (n int)",
    "PREPARE kept AS SELECT 1",
    "DECLARE kept CURSOR WITH HOLD FOR SELECT 1",
    "LISTEN kept",
]


@pytest.fixture
def role(postgres_url: str) -> Iterator[str]:
    """Give a role that may do nothing with our tables."""
    name = f"r_{new_name()}"
    sql(postgres_url, f"CREATE ROLE {name}", f"GRANT CREATE, USAGE ON SCHEMA public TO {name}")
    yield name
    sql(postgres_url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


async def upgrade(project: Project) -> None:
    """Upgrade in this program."""
    async with Migrator.open(load(str(project.toml))) as migrator:
        await migrator.upgrade("head")


ROLES = ("SET ROLE {}", "SET LOCAL ROLE {}", "SET SESSION AUTHORIZATION {}", "SELECT set_config('ROLE', '{}', false)")


@pytest.mark.parametrize("take", ROLES)
@pytest.mark.parametrize("kind", ["sql", "python", "plain", "batches", "rolled back"])
async def test_a_script_takes_a_role(shop: Project, role: str, kind: str, take: str) -> None:
    """The rows of the runs are written with our rights, the next step has them again, and the script keeps its role."""
    url, take = shop.urls["main"], take.format(role)
    make = [take, "CREATE TABLE made ()"]
    if kind == "sql":
        shop.sql("main", "a1", upgrade=";\n".join(make))
    elif kind == "batches":
        sql(url, "CREATE TABLE items AS SELECT i AS id FROM generate_series(1, 3) AS i")
        sql(url, "ALTER TABLE items ADD PRIMARY KEY (id)", f"GRANT SELECT ON items TO {role}")
        inside = f'await ctx.execute("{take}; CREATE TABLE IF NOT EXISTS made ()")'
        loop = f"async for batch in ctx.batches('items', max_rows=1):\n    async with batch: {inside}"
        before = "" if "LOCAL" in take else f'await ctx.execute("{take}")\n'
        shop.revision("main", "a1", upgrade=before + loop)
    else:
        lines = [f'await ctx.execute("{text}")' for text in make]
        fails = ['if await ctx.value("SELECT to_regclass(\'open\') IS NULL"): raise ValueError("no")']
        lines += fails if kind == "rolled back" else []
        shop.revision("main", "a1", upgrade="\n".join(lines), transaction=kind != "plain")
    shop.revision("main", "b2", "a1", upgrade='await ctx.execute("CREATE TABLE ours ()")')
    if kind == "rolled back":
        with pytest.raises(RunFailed, match="ValueError: no"):
            await upgrade(shop)
        assert [row[1:] for row in runs(url)] == [("failed", "none", "error")]
        sql(url, "CREATE TABLE open ()")
    await upgrade(shop)
    assert [row[:2] for row in runs(url)][-2:] == [("a1", "success"), ("b2", "success")]
    owners = dict(sql(url, "SELECT relname, relowner::regrole::text FROM pg_class WHERE relname IN ('made', 'ours')"))
    local = kind == "plain" and "LOCAL" in take  # it ends with its own statement
    assert owners == {"made": "postgres" if local else role, "ours": "postgres"}


@pytest.mark.parametrize("kind", ["sql", "python", "plain", "fails"])
async def test_the_next_step_finds_a_session_as_new(shop: Project, kind: str) -> None:
    """Settings, temporary tables, prepared statements, cursors and channels of a step are gone in the next."""
    url = shop.urls["main"]
    clean = [tuple(row) for row in sql(url, SESSION)]
    leaves = [text for text in LEAVES if kind != "plain" or "CURSOR" not in text]
    if kind == "sql":
        shop.sql("main", "a1", upgrade=";\n".join(leaves))
    else:
        lines = [f'await ctx.execute("{text}")' for text in leaves]
        lines += ['await ctx.execute("SELECT 1/0")'] if kind == "fails" else []
        shop.revision("main", "a1", upgrade="\n".join(lines), transaction=kind != "plain", repeatable=kind == "fails")
    look = f'assert [tuple(row) for row in await ctx.fetch("""{SESSION}""")] == {clean!r}'
    look += ", await ctx.fetch(\"SELECT name, setting FROM pg_settings WHERE source = 'session'\")"
    parent = None if kind == "fails" else "a1"
    shop.revision("main", "b2", parent, upgrade=look, repeatable=kind == "fails")
    async with Migrator.open(load(str(shop.toml))) as migrator:
        if kind != "fails":
            await migrator.upgrade("head")
            return
        results = (await migrator.run("a1", "b2", keep_going=True)).results
        assert [each.word for each in results] == ["failed", "ok"], results


@pytest.mark.parametrize("kind", ["sql", "python", "batches"])
async def test_a_pooler_gets_its_session_back(shop: Project, role: str, kind: str) -> None:
    """Through a pooler in transaction mode nothing that a step has set meets the application that comes next."""
    url = shop.urls["main"]
    settings = "SELECT name, setting FROM pg_settings WHERE name <> 'application_name' ORDER BY name"
    sets = ["SET search_path = elsewhere", "SET work_mem = '7MB'", f"SET ROLE {role}", "SELECT 1"]
    with Pooler(url, size=1) as pooler:
        through = pooler.url(url)
        shop.configure(main=through)
        sql(through, "SET lock_timeout = '7s'")  # as its connect_query would
        before = [
            tuple(row) for row in sql(through, f"SELECT current_user, session_user, name, setting FROM ({settings})")
        ]
        if kind == "sql":
            shop.sql("main", "a1", upgrade=";\n".join(sets))
        else:
            lines = [f'await ctx.execute("{text}")' for text in sets]
            if kind == "batches":
                sql(url, "CREATE TABLE items (id int PRIMARY KEY)", "INSERT INTO items VALUES (1), (2)")
                sql(url, f"GRANT SELECT ON items TO {role}")
                lines = [
                    "async for batch in ctx.batches('public.items', max_rows=1):",
                    f"    async with batch: {'; '.join(lines)}",
                ]
            shop.revision("main", "a1", upgrade="\n".join(lines))
        await upgrade(shop)
        after = [
            tuple(row) for row in sql(through, f"SELECT current_user, session_user, name, setting FROM ({settings})")
        ]
        assert [row for row in after if row not in before] == []


WITHIN = [
    ("SET statement_timeout = '200ms'; SELECT pg_sleep(5)", "statement timeout", "error"),
    ("SET LOCAL lock_timeout = '200ms'; LOCK TABLE busy", "lock timeout", "error"),
]


@pytest.mark.parametrize(("text", "words", "reason"), WITHIN)
@pytest.mark.parametrize("kind", ["sql", "python"])
async def test_a_limit_of_the_script(shop: Project, kind: str, text: str, words: str, reason: str) -> None:
    """It is named as what it is, and not as the limit of the step, which is far away."""
    url = shop.urls["main"]
    sql(url, "CREATE TABLE busy ()")
    if kind == "sql":
        shop.sql("main", "a1", upgrade=text)
    else:
        shop.revision("main", "a1", upgrade=f'await ctx.execute("{text}")')
    rival = await asyncpg.connect(url)
    await rival.execute("BEGIN; LOCK TABLE busy")
    with pytest.raises(RunFailed) as caught:
        await upgrade(shop)
    await rival.close()
    assert words in caught.value.message
    assert "took longer than" not in caught.value.message
    assert f"{words.split(maxsplit=1)[0]}_timeout" in caught.value.hint
    assert runs(url) == [("a1", "failed", "none", reason)]


@pytest.mark.parametrize("kind", ["sql", "python"])
async def test_a_script_resets_all_settings(shop: Project, kind: str) -> None:
    """RESET ALL takes our own mark of the transaction away, too; the step counts all the same."""
    url = shop.urls["main"]
    if kind == "sql":
        shop.sql("main", "a1", upgrade="RESET ALL; CREATE TABLE made ()")
    else:
        shop.revision("main", "a1", upgrade='await ctx.execute("RESET ALL")\nawait ctx.execute("CREATE TABLE made ()")')
    await upgrade(shop)
    assert runs(url) == [("a1", "success", "full", "")]


async def test_a_limit_of_the_user_on_transactions(
    shop: Project, role: str, fresh_postgres: Callable[[str], str]
) -> None:
    """A transaction_timeout that the role has is named, exit 4."""
    url = fresh_postgres("postgres18")
    shop.configure(main=url)
    sql(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET transaction_timeout = '500ms'")
    shop.sql("main", "a1", upgrade="SELECT pg_sleep(30)")
    with pytest.raises(RunFailed) as caught:
        await upgrade(shop)
    assert caught.value.exit_code == 4
    assert "transaction_timeout" in caught.value.hint
