"""The pages, read as a browser gets them: each answers, is well made, keeps every hostile text a text, and shows each
caller the buttons that are theirs.
"""

import asyncio
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest

from migrator.config import load
from migrator.core.errors import RunFailed
from migrator.core.journal import Role
from migrator.runtime.migrator import Migrator
from tests._servers import Servers, new_name, sql, with_database
from tests.acceptance._project import Project
from tests.dashboard._pages import Checked
from tests.dashboard._server import bearer, make_token, running

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>"
ODD = f'"""{HOSTILE} & "quotes".""" '

FAILS = f"""
    ctx.log.info("begun")
    ctx.log.error("{HOSTILE}")
    await ctx.execute("CREATE TABLE left_behind (id int)")
    raise RuntimeError("{HOSTILE}")
"""
WALKS = """
    async for batch in ctx.batches("rows", max_rows=50, on_error="skip"):
        async with batch:
            await ctx.execute("UPDATE rows SET n = 1 / (id - 7) WHERE id BETWEEN $1 AND $2", batch.first, batch.last)
"""
SCRIPT = f"""{ODD}
import msgspec

revision = "nightly"
repeatable = True
tags = ("night",)

class Params(msgspec.Struct):
    who: str
    often: int = 3

async def upgrade(ctx):
    ctx.log.info(ctx.params.who)
"""
MORE = """
[web.users]

[schedule.nightly]
script = "nightly"
cron = "30 2 * * *"
params = {who = "them"}

[schedule.tidy]
task = "cleanup"
every = "6h"
"""


@dataclass(frozen=True)
class Site:
    """A server with something on every page; `ids` are the newest run of each revision."""

    url: str
    project: Project
    tokens: dict[str, str]
    ids: dict[str, str]
    client: httpx2.Client

    def get(self, path: str, who: str = "admin", **more: Any) -> httpx2.Response:
        """Ask as a browser does."""
        headers = {**bearer(self.tokens[who]), "accept": "text/html"}
        return self.client.get(f"{self.url}{path}", headers=headers, **more)

    def read(self, path: str, who: str = "admin", status: int = 200) -> Checked:
        """Read a page that must be well made."""
        answer = self.get(path, who)
        assert answer.status_code == status, (path, answer.status_code, answer.text[-2000:])
        page = Checked(answer.text)
        assert page.wrong == [], path
        assert all(urlsplit(each).path.startswith("/static/") for each in page.scripts)
        return page

    def post(self, path: str, who: str = "admin", **form: str) -> httpx2.Response:
        """Send a form as a browser does."""
        headers = {**bearer(self.tokens[who]), "accept": "text/html", "sec-fetch-site": "same-origin"}
        return self.client.post(f"{self.url}{path}", headers=headers, data=form)


async def build(project: Project) -> None:
    """Write and run what the pages are to show: a branch, a drift, a lost file, a failure, rows passed over."""
    make = "CREATE TABLE rows (id int PRIMARY KEY, n int); INSERT INTO rows SELECT i FROM generate_series(1, 120) AS i"
    project.sql("main", "a1", upgrade=make, downgrade="DROP TABLE rows", verify="SELECT true")
    project.revision("main", "a2", "a1", upgrade="pass", downgrade="pass", branch_labels=("left",))
    project.revision("main", "b2", "a1", upgrade="pass", downgrade="pass", branch_labels=("right",))
    project.revision("main", "a3", ("a2", "b2"), upgrade=WALKS, tags=("walk",))
    project.sql("main", "a4", "a3", upgrade="SELECT 1", downgrade="SELECT 2")
    project.revisions("main").joinpath("nightly.py").write_text(SCRIPT)
    project.revision("events", "m1", upgrade="pass", downgrade="pass", depends_on=("main:a1",))
    async with Migrator.open(load(str(project.toml), {})) as migrator:
        await migrator.upgrade("heads")
        await migrator.run("nightly", params={"who": HOSTILE})
    gone = project.sql("main", "a5", "a4", upgrade="SELECT 1", downgrade="SELECT 2")
    async with Migrator.open(load(str(project.toml), {})) as migrator:
        await migrator.upgrade("main:head")
    gone.unlink()
    tells = project.sql("main", "a6", "a4", upgrade="SELECT 1")
    password = urlsplit(project.urls["main"]).password
    tells.write_text(tells.read_text().replace("-- Title of a6", f"-- Somebody wrote {password} here"))
    left = project.revision(
        "events", "m2", "m1", upgrade=FAILS.replace("ctx.execute(", "ctx.db.command("), verify="pass"
    )
    left.write_text(left.read_text().replace('"""Title of m2."""', ODD.strip()))
    async with Migrator.open(load(str(project.toml), {})) as migrator:
        with pytest.raises(RunFailed):
            await migrator.upgrade("events:m2")
    drifted = next(project.revisions("main").glob("a2*"))
    drifted.write_text(f"{drifted.read_text()}# {HOSTILE}\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Site]:
    """Give the server; its databases are dropped at the end."""
    import pymongo

    postgres, mongo, name = servers.url("postgres18"), servers.url("mongo"), new_name()
    sql(postgres, f"CREATE DATABASE {name}")
    project = Project(tmp_path_factory.mktemp("pages"))
    project.configure(main=with_database(postgres, name), events=with_database(mongo, name))
    asyncio.run(build(project))
    tokens = {str(each): make_token(project, each, each) for each in Role}
    tokens["narrow"] = make_token(project, "narrow", Role.OPERATOR, "main")
    runs = project.good("runs", "--limit", "100", "--json").json()["runs"]
    ids = {each["revision"]: each["run_id"] for each in reversed(runs)}
    with running(project, MORE) as url, httpx2.Client(timeout=30) as client:
        yield Site(url, project, tokens, ids, client)
    project.close()
    sql(postgres, f"DROP DATABASE {name} WITH (FORCE)")
    opened: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(mongo) as opened:
        opened.drop_database(name)


def pages_of(site: Site, who: str) -> dict[str, tuple[str, Checked]]:
    """Follow every link from the overview on, and return each page once, by its path without what follows the `?`
    where that only narrows the same page.
    """
    found: dict[str, tuple[str, Checked]] = {}
    waiting, seen = deque(["/"]), {"/"}
    while waiting:
        path = waiting.popleft()
        answer = site.get(path, who)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[-1500:])
        if "text/html" not in answer.headers["content-type"]:
            continue
        found[path] = answer.text, Checked(answer.text)
        for link in found[path][1].links:
            to = urlsplit(urljoin(f"{site.url}{path}", link))
            address = f"{to.path}?{to.query}" if to.query else to.path
            kind = re.sub(r"=[^&]*", "=", address)  # one of each form
            kind = address if to.path.count("/") > 1 and not to.query else kind
            if f"{to.scheme}://{to.netloc}" == site.url and kind not in seen and "/static/" not in to.path:
                seen.add(kind)
                waiting.append(address)
    return found


def test_every_link_leads_to_a_page_that_is_well_made(site: Site) -> None:
    """Whatever is linked answers; ids are unique, fields have labels, nothing is inline, no text breaks out, and the
    password of the database is nowhere.
    """
    password = urlsplit(site.project.urls["main"]).password
    assert password
    found = pages_of(site, "admin")
    for path, (text, page) in found.items():
        assert page.wrong == [], path
        assert all(urlsplit(each).path.startswith("/static/") for each in page.scripts), path
        assert "<img src=x" not in text, path
        assert "<script>alert" not in text, path
        assert password not in text, path
    assert "Somebody wrote *** here" in found["/history?database=main"][1].texts
    kinds = {urlsplit(path).path.split("/")[1] for path in found}
    assert kinds >= {"", "history", "revisions", "runs", "changes", "schedules", "retention", "statistics", "locks"}
    assert kinds >= {"audit", "tokens", "upgrade", "rollback"}


def test_hostile_texts_are_texts(site: Site) -> None:
    """Titles, errors, log lines and parameters can be read as they are, on the pages where they belong."""
    assert HOSTILE in site.read("/").texts
    assert HOSTILE in site.read("/history?database=events").texts
    run = site.read(f"/runs/{site.ids['m2']}")
    assert run.texts.count(HOSTILE) > 2
    assert HOSTILE in site.read(f"/runs/{site.ids['nightly']}").texts
    assert HOSTILE in site.read("/revisions/main/a2").texts
    sought = site.get(f"/runs/{site.ids['m2']}?q=<script>").text
    assert "<mark>&lt;script&gt;</mark>" in sought


def test_the_states_have_words(site: Site) -> None:
    """A drift, a lost file, a blocked revision and a branch are seen on the history, each with its word."""
    main = site.read("/history?database=main").texts
    assert {"drifted", "unknown", "applied"} <= set(main.split())
    assert "left" in main
    assert "blocked" in site.read("/history?database=events").texts
    assert "What changed since it ran" in site.read("/revisions/main/a2").texts
    assert "There is no file of it here" in site.read("/revisions/main/a5").texts
    assert "Decide what it left behind" in site.read(f"/runs/{site.ids['m2']}").texts
    walked = site.read(f"/changes/{site.ids['a3']}").texts
    assert "119 rows, done" in walked
    assert "division by zero" in walked


@pytest.mark.parametrize(
    ("who", "path", "has", "lacks"),
    [
        ("viewer", "/", "", "Roll back"),
        ("viewer", "/history?database=main", "", "Roll back"),
        ("viewer", "/locks", "", "End the holder"),
        ("viewer", "/retention", "Preview", "Take them away"),
        ("operator", "/history?database=main", "Roll back", ""),
        ("operator", "/retention", "Preview", "Take them away"),
        ("operator", "/schedules", "Run now", ""),
        ("admin", "/retention", "Take them away", ""),
        ("admin", "/tokens", "Revoke", ""),
    ],
)
def test_buttons_are_shown_to_who_may_press_them(site: Site, who: str, path: str, has: str, lacks: str) -> None:
    """A role sees what it may do, and not what it may not."""
    texts = site.read(path, who).texts
    assert has in texts
    assert not lacks or lacks not in texts


def test_a_viewer_has_no_form_that_changes(site: Site) -> None:
    """No page that a viewer can reach posts anything, and what they post in spite of that is refused as a page."""
    for path, (_, page) in pages_of(site, "viewer").items():
        assert [form for form in page.forms if form[0] == "post"] == [], path
    for path in ("/rollback", "/revisions/main/a1/verify", f"/runs/{site.ids['m2']}/resolve", "/retention", "/tokens"):
        answer = site.post(
            path, "viewer", database="main", target="-1", seen="x", name="n", role="admin", decision="retry"
        )
        assert answer.status_code == 403, path
        assert "What happened" in Checked(answer.text).texts
    assert site.get("/tokens", "viewer").status_code == 403


def test_who_may_see_one_database_sees_one(site: Site) -> None:
    """The other is on no page, and asking for it is as asking for one that there is not."""
    for path, (text, _) in pages_of(site, "narrow").items():
        assert "m1" not in re.findall(r"\bm1\b", text), path
    for path in (
        "/history?database=events",
        "/revisions/events/m1",
        f"/runs/{site.ids['m2']}",
        "/upgrade?database=events",
    ):
        assert site.get(path, "narrow").status_code == 404, path
    assert site.get("/schedules", "narrow").status_code == 403


def test_the_list_of_runs(site: Site) -> None:
    """It is narrowed by the form, goes on by a cursor, and says what is wrong with a time; files have it, too."""
    assert "m2" not in site.read("/runs?status=success").texts
    assert site.read("/runs?status=failed").texts.count("failed") > 1
    wrong = site.read("/runs?since=yesterday", status=422)
    assert "is no time" in wrong.texts
    rows = site.get("/runs.csv?since=1d").text.splitlines()
    assert rows[0].startswith("run_id,database,revision")
    assert len(rows) > 8
    assert len(site.get("/runs.json?since=1d").json()["runs"]) == len(rows) - 1


def test_unknown_addresses(site: Site) -> None:
    """A person gets a page that leads home; a program gets a problem as JSON."""
    page = site.read("/nothing-here", status=404)
    assert "/" in page.links
    assert "Not Found" in page.texts
    program = httpx2.get(f"{site.url}/nothing-here", headers=bearer(site.tokens["viewer"]))
    assert program.headers["content-type"] == "application/problem+json"
    assert site.read("/runs/none", status=422).texts
    assert "there is no run" in site.read("/runs/0000000000000", status=404).texts


def test_static_files_are_kept(site: Site) -> None:
    """Their addresses change with them, so that they are kept for a year; asked again, they are not sent again."""
    page = site.read("/login")
    for link in [*page.scripts, *(each for each in page.links if "/static/" in each)]:
        answer = site.client.get(f"{site.url}{link}")
        assert answer.status_code == 200, link
        assert "immutable" in answer.headers["cache-control"]
        again = site.client.get(f"{site.url}{link}", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
    there = Path(__file__).parents[2] / "migrator" / "dashboard" / "static"
    for each in there.iterdir():
        assert site.client.get(f"{site.url}/static/{each.name}").status_code == 200
    assert site.client.get(f"{site.url}/static/%2e%2e/app.py").status_code == 404


def test_a_stream_of_a_run_that_is_over_ends(site: Site) -> None:
    """It sends the state and the log once, in pieces of the page, and says that this was the end."""
    text = site.get(f"/runs/{site.ids['m2']}/live").text
    assert 'hx-target="#run-head"' in text
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    assert text.rstrip().endswith("data: over")
    assert "event: end" in text
    change = site.get(f"/changes/{site.ids['a3']}/live").text
    assert "event: sample" in change
    assert "event: end" in change


def test_logging_in_on_the_page(site: Site) -> None:
    """Who is not known is led to the form; a wrong token is refused there, a right one opens the overview."""
    with httpx2.Client(base_url=site.url, headers={"accept": "text/html", "sec-fetch-site": "same-origin"}) as browser:
        assert browser.get("/").headers["location"] == "/login"
        assert Checked(browser.get("/login").text).wrong == []
        wrong = browser.post("/login", data={"token": "mgr_x_y"})
        assert wrong.status_code == 401
        assert "no token that I know" in Checked(wrong.text).texts
        assert browser.post("/login", data={"token": site.tokens["viewer"]}).status_code == 303
        assert "viewer" in Checked(browser.get("/").text).texts
        assert browser.post("/logout").status_code == 303
        assert browser.get("/").status_code == 303
