"""The project that the faults befall: one revision of every kind, each leaving evidence that it took effect.

Every revision adds one row to `evidence`, which has no constraint on purpose: a revision that ran twice leaves two. An
index is its own evidence. What runs outside a transaction is written as a careful author writes it: it may run again.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.faults.checker import Ordered

INDEX = "items_name"
ROWS = 200

_FIRST = f'''"""Several statements in one transaction."""
from migrator.adapters.postgres import Context

revision = "c01"
down_revision = None


async def upgrade(ctx: Context) -> None:
    await ctx.execute("CREATE TABLE evidence (revision text NOT NULL, pid int DEFAULT pg_backend_pid())")
    await ctx.execute("CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL)")
    await ctx.execute("INSERT INTO items SELECT i, 'item ' || i FROM generate_series(1, $1::int) AS i", {ROWS})
    await ctx.execute("INSERT INTO evidence VALUES ('c01')")


async def downgrade(ctx: Context) -> None:
    await ctx.execute("DROP TABLE items; DROP TABLE evidence")


async def verify(ctx: Context) -> bool:
    return await ctx.value("SELECT count(*) FROM items") == {ROWS}
'''

_SQL = """-- Plain SQL in a transaction
-- revision: c02
-- down_revision: c01

-- migrator: upgrade
ALTER TABLE items ADD COLUMN counted int NOT NULL DEFAULT 0;
UPDATE items SET counted = counted + 1;
INSERT INTO evidence VALUES ('c02');

-- migrator: downgrade
ALTER TABLE items DROP COLUMN counted;
DELETE FROM evidence WHERE revision = 'c02';

-- migrator: verify
SELECT min(counted) = 1 AND max(counted) = 1 FROM items;
"""

_CONCURRENTLY = f"""-- An index that is built without a lock on the table
-- revision: c03
-- down_revision: c02
-- transaction: off
-- rerunnable: yes

-- migrator: upgrade
CREATE INDEX CONCURRENTLY IF NOT EXISTS {INDEX} ON items (name);

-- migrator: downgrade
DROP INDEX CONCURRENTLY IF EXISTS {INDEX};

-- migrator: verify
SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('{INDEX}') AND indisvalid);
"""

_PLAIN = '''"""Statements that commit one by one, and may be run again."""
from migrator.adapters.postgres import Context

revision = "c04"
down_revision = "c03"
transaction = False
rerunnable = True


async def upgrade(ctx: Context) -> None:
    await ctx.execute("CREATE TABLE IF NOT EXISTS plain (id int PRIMARY KEY)")
    await ctx.execute("INSERT INTO plain SELECT i FROM generate_series(1, 20) AS i ON CONFLICT DO NOTHING")
    await ctx.execute(
        "INSERT INTO evidence SELECT 'c04' WHERE NOT EXISTS (SELECT FROM evidence WHERE revision = 'c04')"
    )


async def downgrade(ctx: Context) -> None:
    await ctx.execute("DROP TABLE IF EXISTS plain")
    await ctx.execute("DELETE FROM evidence WHERE revision = 'c04'")


async def verify(ctx: Context) -> bool:
    return bool(await ctx.value("SELECT count(*) FROM evidence WHERE revision = 'c04'"))
'''

_ORM = '''"""Through SQLAlchemy's ORM, on the same connection and in the same transaction."""
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from migrator.adapters.postgres import Context

revision = "c05"
down_revision = "c04"


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


async def upgrade(ctx: Context) -> None:
    session = ctx.session
    session.add(Item(id=1001, name="by the ORM"))
    await session.flush()
    await ctx.execute("INSERT INTO evidence VALUES ('c05')")


async def downgrade(ctx: Context) -> None:
    await ctx.execute("DELETE FROM items WHERE id = 1001")
    await ctx.execute("DELETE FROM evidence WHERE revision = 'c05'")


async def verify(ctx: Context) -> bool:
    return await ctx.value("SELECT count(*) FROM items WHERE id = 1001") == 1
'''

_LAST = '''"""A change of data that would show if it ran twice."""
from migrator.adapters.postgres import Context

revision = "c06"
down_revision = "c05"


async def upgrade(ctx: Context) -> None:
    await ctx.execute("UPDATE items SET counted = counted + 1 WHERE counted = 1")
    await ctx.execute("CREATE TABLE walked (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)")
    await ctx.execute("INSERT INTO walked SELECT i FROM generate_series(1, 60) AS i")
    await ctx.execute("INSERT INTO evidence VALUES ('c06')")


async def downgrade(ctx: Context) -> None:
    await ctx.execute("DROP TABLE walked")
    await ctx.execute("UPDATE items SET counted = 1 WHERE counted = 2")
    await ctx.execute("DELETE FROM evidence WHERE revision = 'c06'")


async def verify(ctx: Context) -> bool:
    return await ctx.value("SELECT max(counted) FROM items") == 2
'''

_BATCHES = '''"""A long change: each row exactly once, whatever happens between its batches and in them."""
from migrator.adapters.postgres import Context

revision = "c07"
down_revision = "c06"


async def upgrade(ctx: Context) -> None:
    alone = {"lag": False, "waiters": False}  # what they ask at their own times would shift the messages
    async for batch in ctx.batches("walked", max_rows=20, throttle=alone):
        async with batch:
            await ctx.execute("UPDATE walked SET n = n + 1 WHERE id BETWEEN $1 AND $2", batch.first, batch.last)


async def downgrade(ctx: Context) -> None:
    await ctx.execute("UPDATE walked SET n = 0")


async def verify(ctx: Context) -> bool:
    return await ctx.value("SELECT min(n) = 1 AND max(n) = 1 FROM walked")
'''

_FILES = {
    "c01.py": (_FIRST, Ordered("c01", transactional=True)),
    "c02.sql": (_SQL, Ordered("c02", transactional=True)),
    "c03.sql": (_CONCURRENTLY, Ordered("c03", transactional=False, index=INDEX)),
    "c04.py": (_PLAIN, Ordered("c04", transactional=False)),
    "c05.py": (_ORM, Ordered("c05", transactional=True)),
    "c06.py": (_LAST, Ordered("c06", transactional=True)),
    "c07.py": (_BATCHES, Ordered("c07", transactional=False, counted="walked")),
}


def configure(folder: Path, url: str, *, database: str = "main", top: str = "", more: str = "") -> None:
    """Write migrator.toml with one database. `top` comes above its table, `more` into it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f"{top}\n[databases.{database}]\nurl = {json.dumps(url)}\n{more}\n"
    (folder / "migrator.toml").write_text(text, "utf-8")
    (folder / "revisions").mkdir(exist_ok=True)


def write(folder: Path, url: str, *, top: str = "", more: str = "") -> list[Ordered]:
    """Write the project of all kinds into a folder and return what it orders."""
    configure(folder, url, top=top, more=more)
    for name, (text, _) in _FILES.items():
        (folder / "revisions" / name).write_text(text, "utf-8")
    return [ordered for _, ordered in _FILES.values()]


def transactional(
    folder: Path, url: str, count: int, *, top: str = "", more: str = "", work: str = ""
) -> list[Ordered]:
    """Write a project of small transactional revisions; `work` is one more statement in each of them."""
    configure(folder, url, top=top, more=more)
    ordered, parent = [], "none"
    for number in range(1, count + 1):
        name = f"t{number:02}"
        lines = [
            f"-- Small step {number}",
            f"-- revision: {name}",
            f"-- down_revision: {parent}",
            "-- migrator: upgrade",
        ]
        lines += ["CREATE TABLE evidence (revision text NOT NULL);"] * (number == 1)
        lines += [
            f"CREATE TABLE of_{name} (id int);",
            f"INSERT INTO evidence VALUES ('{name}');",
            *([work] * bool(work)),
        ]
        (folder / "revisions" / f"{name}.sql").write_text("\n".join(lines) + "\n", "utf-8")
        ordered.append(Ordered(name, transactional=True))
        parent = name
    return ordered


def revision(
    folder: Path,
    name: str,
    parent: str | None,
    upgrade: Sequence[str],
    *,
    verify: str = "",
    constants: Mapping[str, object] | None = None,
) -> Ordered:
    """Write one Python revision from the lines of its functions, and return it."""
    values: dict[str, object] = {"revision": name, "down_revision": parent, **(constants or {})}
    lines = [f'"""Step {name}."""', *(f"{key} = {value!r}" for key, value in values.items())]
    lines += ["async def upgrade(ctx):", *(f"    {line}" for line in upgrade)]
    if verify:
        lines += ["async def verify(ctx):", f"    {verify}"]
    (folder / "revisions" / f"{name}.py").write_text("\n".join(lines) + "\n", "utf-8")
    return Ordered(name, transactional=values.get("transaction", True) is not False)
