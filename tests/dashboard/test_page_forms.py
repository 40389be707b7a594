"""What is pressed on the pages: a rollback as it was shown, a decision, tokens; and pages that have much to show."""

from typing import Any

import httpx2
import pytest

from migrator.core.journal import Role
from tests._servers import sql
from tests.acceptance._project import Project, until
from tests.dashboard._pages import Checked
from tests.dashboard._server import bearer, make_token
from tests.dashboard.conftest import Served

BROWSER = {"accept": "text/html", "sec-fetch-site": "same-origin"}


def read(client: httpx2.Client, url: str, status: int = 200) -> Checked:
    """Read a page that must be well made."""
    answer = client.get(url, headers=BROWSER)
    assert answer.status_code == status, answer.text[-2000:]
    page = Checked(answer.text)
    assert page.wrong == []
    return page


def sent(client: httpx2.Client, url: str, **form: str) -> httpx2.Response:
    """Send a form."""
    return client.post(url, headers=BROWSER, data=form)


def ended(client: httpx2.Client, url: str, answer: httpx2.Response) -> Checked:
    """Follow what was begun until it has ended, and return its page."""
    assert answer.status_code == 303, answer.text[-2000:]
    path = answer.headers["location"]
    assert path.startswith("/audit/")
    until(lambda: "running asked by" not in read(client, f"{url}{path}").texts, "it has ended")
    return read(client, f"{url}{path}")


def test_a_rollback_is_what_was_shown(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Looking changes nothing, one button does it, and its entry leads to its runs; another plan by then is refused."""
    shop.tables("main", "a1", "a2", "a3")
    shop.good("upgrade")
    url = served(shop)
    shown = client.get(f"{url}/rollback?database=main&target=a2-1", headers=BROWSER)
    plan = Checked(shown.text)
    assert plan.texts.index("Title of a3") < plan.texts.rindex("Title of a2")
    assert "Nothing was changed" in plan.texts
    assert set(shop.states().values()) == {"applied"}
    form = plan.values
    assert form["target"] == "a2-1"

    shop.good("downgrade", "-1")
    refused = sent(client, f"{url}/rollback", **form)
    assert refused.status_code == 409
    assert "not the one that was agreed to" in Checked(refused.text).texts
    assert shop.states() == {"a1": "applied", "a2": "applied", "a3": "pending"}

    form = read(client, f"{url}/rollback?database=main&target=a2-1").values
    page = ended(client, url, sent(client, f"{url}/rollback", **form))
    assert "Title of a2" in page.texts
    assert shop.states() == {"a1": "applied", "a2": "pending", "a3": "pending"}
    (run, *_) = [link for link in page.links if link.startswith("/runs/")]
    assert "downgrade in main" in read(client, f"{url}{run}").texts


def test_what_is_sent_twice_is_done_once(shop: Project, served: Served, client: httpx2.Client) -> None:
    """A second press of the same button leads to the same entry."""
    shop.tables("main", "a1", "a2")
    shop.good("upgrade")
    url = served(shop)
    form = read(client, f"{url}/rollback?database=main&target=-1").values
    first, second = (sent(client, f"{url}/rollback", **form) for _ in range(2))
    assert first.headers["location"] == second.headers["location"]
    ended(client, url, first)
    assert shop.states() == {"a1": "applied", "a2": "pending"}


def test_a_protected_environment(shop: Project, served: Served, client: httpx2.Client) -> None:
    """A rollback without the typed name is refused with a page that says so; with it, it begins."""
    shop.tables("main", "a1")
    shop.good("upgrade")
    url = served(shop, "[environments.development]\nprotected = true")
    page = read(client, f"{url}/rollback?database=main&target=-1")
    assert "Type development to confirm" in page.texts
    refused = sent(client, f"{url}/rollback", **page.values, confirm="production")
    assert refused.status_code == 409
    assert "is protected" in Checked(refused.text).texts
    assert shop.states() == {"a1": "applied"}
    form = read(client, f"{url}/rollback?database=main&target=-1").values
    ended(client, url, sent(client, f"{url}/rollback", **form, confirm="development"))
    assert shop.states() == {"a1": "pending"}


def test_an_upgrade_that_is_refused_says_why(shop: Project, served: Served, client: httpx2.Client) -> None:
    """A drift is told on the plan, with the command that accepts it; an upgrade that can be done is done."""
    shop.tables("main", "a1", "a2")
    url = served(shop)
    page = ended(client, url, sent(client, f"{url}/upgrade", **read(client, f"{url}/upgrade?database=main").values))
    assert "2 applied" in read(client, url).texts
    assert page.texts.count("success") == 2
    file = next(shop.revisions("main").glob("a1*"))
    file.write_text(file.read_text().replace("(ctx: Context):\n", "(ctx: Context):\n    print()\n"))
    shop.table("main", "a3", "a2")
    told = read(client, f"{url}/upgrade?database=main").texts
    assert "This cannot be done" in told
    assert "migrator stamp main:a2" in told
    assert "migrator stamp main:a2" in read(client, f"{url}/revisions/main/a1").texts


def test_files_that_form_no_history(shop: Project, served: Served, client: httpx2.Client) -> None:
    """The overview says what is wrong with the files, and that it is not the database that is silent."""
    shop.tables("main", "a1")
    shop.good("upgrade")
    url = served(shop)
    shop.table("main", "b1")
    page = read(client, f"{url}/").texts
    assert "2 revisions without a parent" in page
    assert "does not answer" not in page
    assert "without a parent" in read(client, f"{url}/history", 409).texts
    assert "a1" in read(client, f"{url}/runs").texts


def test_a_database_that_is_silent_hides_no_other(both: Project, served: Served, client: httpx2.Client) -> None:
    """Its card says so, and the others are shown; so it is with the runs."""
    both.tables("main", "a1")
    both.good("upgrade", "main:head")
    both.configure(main=both.urls["main"], events="mongodb://127.0.0.1:1/nothing")
    both.toml.write_text(
        both.toml.read_text().replace("[databases.events]", '[databases.events]\nconnect_timeout = "1s"')
    )
    url = served(both)
    page = read(client, f"{url}/").texts
    assert "events does not answer" in page
    assert "1 applied" in page
    runs = read(client, f"{url}/runs").texts
    assert "events does not answer" in runs
    assert "Title of a1" in runs
    assert "events" in read(client, f"{url}/history?database=events", 503).texts
    assert read(client, f"{url}/locks").texts.count("silent") == 1


def test_a_decision_is_recorded(shop: Project, served: Served, client: httpx2.Client) -> None:
    """The page of a run that left something behind takes the decision of a person."""
    fails = 'await ctx.execute("CREATE TABLE t (id int)")\nraise RuntimeError("half way")'
    shop.revision("main", "a1", upgrade=fails, transaction=False)
    shop.run("upgrade")
    url = served(shop)
    (link,) = {each for each in read(client, url).links if each.startswith("/runs/")}
    assert "half way" in read(client, f"{url}{link}").texts
    missing = sent(client, f"{url}{link}/resolve", decision="sure", reason="x")
    assert missing.status_code == 422
    ended(client, url, sent(client, f"{url}{link}/resolve", decision="mark-success", reason="the table is there"))
    assert shop.states() == {"a1": "applied"}


def test_a_token_is_shown_once(shop: Project, served: Served, client: httpx2.Client) -> None:
    """It is made on the page, works, is in no later page, and ends where it is revoked."""
    url, admin = served(shop), bearer(make_token(shop, "ann", Role.ADMIN))
    client.headers.update(admin)
    made = Checked(sent(client, f"{url}/tokens", name="<b>ci</b>", role="viewer", days="1").text)
    assert made.wrong == []
    (text,) = {word for word in made.texts.split() if word.startswith("mgr_")}
    assert httpx2.get(f"{url}/api/databases", headers=bearer(text)).status_code == 200
    page = read(client, f"{url}/tokens")
    assert text not in page.texts
    assert "<b>ci</b>" in page.texts
    for method, action in page.forms:
        if action.endswith("/revoke") and method == "post" and make_id(page, action) == "<b>ci</b>":
            assert sent(client, f"{url}{action}").status_code == 303
    until(lambda: httpx2.get(f"{url}/api/databases", headers=bearer(text)).status_code == 401, "it has ended")


def make_id(page: Checked, action: str) -> str:
    """Return the name of the token that a form revokes."""
    token = action.split("/")[-2]
    words = page.texts.split()
    return words[words.index(token) - 1]


def test_a_read_only_server_has_no_buttons(shop: Project, served: Served, client: httpx2.Client) -> None:
    """No page posts anything, and what is posted is refused."""
    shop.tables("main", "a1", "a2")
    shop.good("upgrade", "a1")
    url = served(shop, "[web]\nread_only = true")
    for path in ("/", "/history", "/revisions/main/a1", "/retention", "/locks", "/tokens", "/rollback?database=main"):
        page = read(client, f"{url}{path}")
        assert [form for form in page.forms if form[0] == "post"] == [], path
        assert "read-only" in page.texts
    assert sent(client, f"{url}/rollback", database="main", target="-1", seen="x").status_code == 403
    assert shop.states()["a1"] == "applied"


def test_below_a_path(shop: Project, served: Served, client: httpx2.Client) -> None:
    """Where a proxy shows it below a path, every link, form and file is there."""
    shop.tables("main", "a1")
    shop.good("upgrade")
    url = served(shop, root_path="/migrator")
    for path in ("/", "/history", "/runs", "/rollback?database=main", "/revisions/main/a1"):
        page = read(client, f"{url}{path}")
        for each in (*page.links, *page.scripts, *(action for _, action in page.forms)):
            assert each.startswith(("/migrator/", "#")), each
    form = read(client, f"{url}/rollback?database=main").values
    assert sent(client, f"{url}/rollback", **form).headers["location"].startswith("/migrator/audit/")


def test_a_thousand_revisions(shop: Project, served: Served, client: httpx2.Client) -> None:
    """They are shown a window at a time, newest first, and can be looked for."""
    names = [f"r{number:04}" for number in range(1000)]
    for name, parent in zip(names, [None, *names], strict=False):
        shop.sql("main", name, parent, upgrade="SELECT 1")
    url = served(shop)
    page = read(client, f"{url}/history")
    assert "1,000 revisions" in page.texts
    assert "r0999" in page.texts
    assert "r0899" not in page.texts
    (later,) = {each for each in page.links if "at=" in each}
    assert "r0899" in read(client, f"{url}{later}").texts
    assert "r0123" in read(client, f"{url}/history?q=R0123").texts
    assert "1,000 pending" in read(client, url).texts


def test_ten_thousand_runs_and_a_long_log(shop: Project, served: Served, client: httpx2.Client) -> None:
    """A list has its pages, a log its end; what is behind them is reached by links, and the first error by one."""
    shop.revision("main", "a1", upgrade='ctx.log.info("begun")')
    shop.good("upgrade")
    sql(
        shop.urls["main"],
        "INSERT INTO script_run_tracker (run_id, revision, title, kind, direction, status, effect, started_at,"
        ' finished_at, duration_ms, fence, superseded_by, "user")'
        " SELECT '0' || to_char(n, 'FM000000000000'), 's' || n % 7, '=cmd', 'script', 'upgrade', 'success', 'full',"
        " now(), now(), 5, 0, 'x', 'bob' FROM generate_series(1, 10000) AS n",
    )
    url = served(shop)
    page = read(client, f"{url}/runs?since=1d&user=bob")
    assert page.texts.count("success") == 51  # one is in the form
    (later,) = {each for each in page.links if "after=" in each}
    assert "user=bob" in later
    assert read(client, f"{url}{later}").texts.count("success") == 51
    rows = client.get(f"{url}/runs.csv?since=1d&user=bob", headers=BROWSER).text.splitlines()
    assert len(rows) == 10_001
    assert ",'=cmd," in rows[1], "no formula for a spreadsheet"

    (run,) = shop.good("runs", "--script", "a1", "--json").json()["runs"]
    log = shop.folder / "logs" / run["log_file"]
    lines = [f"[2026-11-20 10:30:00] [INFO] [a1] line {number:06} {'x' * 60}" for number in range(100_000)]
    lines[4321] = lines[4321].replace("[INFO]", "[ERROR]")
    log.write_text("\n".join([*log.read_text().splitlines(), *lines, ""]))
    at = f"{url}/runs/{run['run_id']}"
    text = client.get(at, headers=BROWSER).text
    assert len(text) < 400_000
    end = Checked(text)
    assert "line 099999" in end.texts
    assert "line 098000" not in end.texts
    assert "line 098990" in read(client, f"{url}{linked(end, 'before=')}").texts
    assert "line 004321" in read(client, f"{url}{linked(end, 'at=error')}").texts
    assert "line 004321" in read(client, f"{at}?q=line%20004321&at=0").texts
    assert read(client, f"{at}?level=ERROR").texts.count("[INFO]") == 0


def linked(page: Checked, part: str) -> str:
    """Return the link of a page that has this in it."""
    return next(each.partition("#")[0] for each in page.links if part in each)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/history?database=nothing", 404),
        ("/history?at=-1", 422),
        ("/history?at=99999999999", 422),
        ("/runs?after=%00", 422),
        ("/runs?script=%00", 422),
        ("/runs/../../etc/passwd", 404),
        ("/runs.xml", 422),
        ("/revisions/main/%27%3B--", 422),
        ("/revisions/main/a99", 404),
        ("/upgrade?database=main&target=no@where:at+all", 200),
        ("/audit/0000000000000", 404),
        ("/changes/0000000000000", 404),
        ("/statistics?since=x", 200),
        ("/retention?days=x", 422),
    ],
)
def test_bad_input(bad: Any, client: httpx2.Client, path: str, status: int) -> None:
    """Whatever is asked for, a page says what is wrong with it."""
    assert read(client, f"{bad}{path}", status).texts


@pytest.fixture
def bad(shop: Project, served: Served) -> str:
    """Give the address of a server with one revision."""
    shop.tables("main", "a1")
    return served(shop)
