"""What docs/long-changes.md shows works on real servers, and what it says of options and messages is there."""

import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pymongo
import pytest

from migrator.adapters._context import ContextBase
from migrator.core.throttle import NAMES
from tests._servers import sql
from tests.acceptance._project import Project, until

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "long-changes.md").read_text("utf-8")
CODE = "".join(path.read_text("utf-8") for path in sorted((ROOT / "migrator").rglob("*.py")))
MANY = 3_000

ORDERS = f"""
await ctx.execute("CREATE TABLE orders (id bigint PRIMARY KEY, quantity int, price_cents int, total_cents bigint)")
await ctx.execute("INSERT INTO orders SELECT n, n % 7, n % 100 FROM generate_series(1, {MANY}) AS n")
await ctx.execute("CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL)")
await ctx.execute("INSERT INTO customers SELECT n, 'ada lovelace ' || n FROM generate_series(1, 500) AS n")
await ctx.execute("ANALYZE")
"""
REVIEWS = f"""
await ctx.db.reviews.insert_many(
    [{{"author": f"Ada Lovelace{{n}}", "text": "a good pot"}} for n in range({MANY})]
)
"""
SLOW = """
async for batch in ctx.batches("orders", name="slow", max_rows=20, max_rows_per_second=100):
    async with batch:
        await ctx.execute(f"UPDATE orders SET quantity = quantity + 1 WHERE {batch.where}", *batch.args)
"""


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def table(after: str) -> list[list[str]]:
    """Return the cells of the first table behind a text."""
    lines = TEXT.split(after, 1)[1].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    end = next(number for number, line in enumerate(lines[start:], start) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[start + 2 : end]]


def revisions() -> Iterator[tuple[str, str, str, str]]:
    """Yield database, id, parent and text of every revision that is shown."""
    for text in blocks("python"):
        found = dict(re.findall(r'^(revision|down_revision) = "(\w+)"$', text, re.MULTILINE))
        yield "events" if "adapters.mongo" in text else "main", found["revision"], found["down_revision"], text


@pytest.fixture
def project(
    tmp_path: Path, fresh_postgres: Callable[[str], str], fresh_mongo: Callable[[str], str]
) -> Iterator[Project]:
    """Give a project with the tables that the page speaks of, and its revisions behind them, pending."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    made.configure(main=fresh_postgres("postgres18"), events=fresh_mongo("mongo"))
    shown = list(revisions())
    for database, upgrade in (("main", ORDERS), ("events", REVIEWS)):
        first = next(parent for name, _, parent, _ in shown if name == database)
        made.revision(database, first, upgrade=upgrade)
    made.good("upgrade")
    for database, revision, _, text in shown:
        (made.revisions(database) / f"{revision}.py").write_text(text, "utf-8")
    yield made
    made.close()


def test_every_example_runs(project: Project) -> None:
    """All revisions of the page go up and are verified, a walk goes down, and the data is what their text says."""
    project.good("upgrade", "events:20f034deb7f9")
    with pymongo.MongoClient(project.urls["events"]) as client:  # type: ignore[var-annotated]
        reviews = client.get_default_database().reviews
        assert reviews.count_documents({"names": {"$size": 2}}) == MANY
        foretold = project.run("downgrade", "events:-1", "--dry-run")
        assert "Forecast of events:20f034deb7f9 reviews (from one batch of" in foretold.stdout
        project.good("downgrade", "events:-1")
        assert reviews.count_documents({"names": {"$exists": True}}) == 0
        runs = project.good("upgrade", "--json").json()["runs"]
        assert reviews.count_documents({"names": {"$size": 2}, "words": 3}) == MANY
    assert {run["revision"] for run in runs} == {revision for _, revision, _, _ in revisions()}
    loops = [loop for run in runs for loop in (run["progress"] or {}).get("loops", ())]
    assert {loop["name"]: loop["rows"] for loop in loops} == {
        "orders.total": MANY,
        "customers": 500,
        "reviews.names": MANY,
        "reviews.words": MANY,
    }
    project.good("verify")
    (wrong,) = sql(project.urls["main"], "SELECT count(*) FROM orders WHERE total_cents <> quantity * price_cents")
    (named,) = sql(project.urls["main"], "SELECT name FROM customers WHERE id = 7")
    assert (wrong[0], named[0]) == (0, "Ada Lovelace 7")


def test_the_forecast(project: Project) -> None:
    """The dry run prints what the page shows, figures apart, for each revision whose tables are there."""
    (shown,) = [text for text in blocks("console") if "--dry-run" in text]
    command, *lines = shown.splitlines()
    done = project.run(*shlex.split(command.removeprefix("$ migrator ")))
    assert done.exit_code == 10
    printed = figureless(done.stdout)
    for line in lines:
        if line and not line.startswith(("#", "1 ", "  Update", "    ->")):
            assert figureless(line) in printed, line
    assert "Index Scan using orders_pkey on orders" in done.stdout


def figureless(text: str) -> str:
    """Return a text without its figures and units of time and size."""
    return re.sub(r"[\d,.]+( (ms|s|min|h|kB|MB|GB)\b( \d+ s)?)?", "N", text)


def test_on_call(project: Project) -> None:
    """What an operator types works while a long change runs, in the order of the page, and is obeyed."""
    project.revision("main", "slow", "9b1de04c77aa", upgrade=SLOW, branch_labels="slow")
    child = project.start("upgrade", "main:slow")
    kept = "SELECT 1 FROM script_run_checkpoint WHERE rows > 0"
    until(lambda: sql(project.urls["main"], kept), "a batch is done")
    commands = [line for text in blocks("console") if "--dry-run" not in text for line in text.splitlines()]
    for line in commands:
        assert line.startswith("$ migrator "), line
        project.good(*shlex.split(line.removeprefix("$ migrator ")), "-d", "main")
    assert child.wait().exit_code == 14
    status = project.good("status", "-d", "main").stdout
    for word in ("slow: ", "cancelled by", "settings changed while it runs: target=0.2 max_rows_per_second=5000"):
        assert word in status
    project.good("resume", "-d", "main")
    project.good("upgrade", "main:slow")
    (once,) = sql(project.urls["main"], "SELECT bool_and(quantity = id % 7 + 1) FROM orders")
    assert once[0] is True


def test_every_option_is_there() -> None:
    """The table of options has those of ctx.batches with their defaults, and that of signals all signals."""
    parameters = inspect.signature(ContextBase.batches).parameters
    rows = table("### What the loop takes")
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row[0])] == [*parameters][1:]
    defaults = {re.findall(r"`(\w+)`", row[0])[0]: row[1].partition(",")[0].strip("`") for row in rows}
    for name in ("target", "max_rows", "max_rows_per_second", "on_error", "workers"):
        assert (
            float(defaults[name]) == parameters[name].default if name != "on_error" else defaults[name] == '"stop"'
        ), name
    assert {row[0].strip("`") for row in table("### What holds it back")} == set(NAMES)


@pytest.mark.parametrize("message", [each for row in table("| message") for each in re.findall(r"`([^`]+)`", row[0])])
def test_every_message_is_said_somewhere(message: str) -> None:
    """What the page calls a message is a part of one in the code."""
    assert message.removeprefix("stands still, ") in CODE or message in CODE


def test_links_lead_somewhere() -> None:
    """Every link within the page is one of its headings."""
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
        for line in TEXT.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= headings
