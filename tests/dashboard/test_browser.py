"""The dashboard in a real browser: Debian's Chromium, which `.ci/run` installs, driven by Playwright."""

import shutil
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

from tests.acceptance._long import ROWS, long_change
from tests.acceptance._project import Project, until
from tests.dashboard.conftest import Served

LIMIT = 30_000
"""Milliseconds after which whatever a page is to show counts as never coming."""

FAILS = """
    ctx.log.error("the shelf is full")
    raise RuntimeError("there is no room for more rows")
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give a browser."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "Chromium is not installed: apt-get install chromium (.ci/run does it)"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture
def complaints() -> list[str]:
    """Give the list of what a browser complained about in its console."""
    return []


@pytest.fixture
def window(browser: Browser, complaints: list[str]) -> Iterator[BrowserContext]:
    """Give a window of its own; at the end nothing may be in its console: no error, no break of the policy."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(LIMIT)
    expect.set_options(timeout=LIMIT)
    context.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    context.close()
    assert complaints == []


@pytest.fixture
def page(window: BrowserContext) -> Page:
    """Give a page."""
    return window.new_page()


@pytest.fixture
def store(shop: Project) -> Project:
    """Give a project with a change that takes seconds, and a step behind it that fails."""
    long_change(shop)
    shop.revision("main", "a3", "a2", upgrade=FAILS)
    return shop


def done(page: Page) -> int:
    """Return how far the bar of the rows is, 0 where there is none yet."""
    bar = page.get_by_role("progressbar", name="rows")
    try:
        return int(bar.first.get_attribute("value", timeout=1000) or 0) if bar.count() else 0
    except Error:  # it was just put anew
        return 0


def same_document(page: Page) -> Any:
    """Mark the document, and return a function that says whether the page still is that one."""
    page.evaluate("window.mark = true")
    return lambda: page.evaluate("window.mark === true")


def test_from_a_slow_upgrade_to_a_rollback(store: Project, served: Served, page: Page) -> None:
    """An upgrade of another program moves a bar, is followed in its log, fails before one's eyes, and is taken back."""
    url = served(store)
    page.goto(url)
    expect(page.get_by_text("Nothing runs.")).to_be_visible()
    unmoved = same_document(page)
    upgrade = store.start("upgrade", "-v", env={"PACE": "150"})

    until(lambda: done(page) > 0, "the bar is there")
    seen = done(page)
    until(lambda: done(page) > seen, "the bar moves")
    assert unmoved()

    page.get_by_role("link", name="watch").click()
    expect(page.get_by_role("heading", name="Title of a2")).to_be_visible()
    seen, unmoved = done(page), same_document(page)
    until(lambda: done(page) > seen, "the bar of the change moves")
    assert unmoved()

    result = upgrade.wait()
    assert result.exit_code == 1, result
    page.goto(url)
    failed = page.get_by_role("region", name="Latest runs")
    expect(failed).to_contain_text("failed")
    failed.locator("tr").filter(has_text="failed").get_by_role("link").last.click()
    expect(page.get_by_role("main")).to_contain_text("there is no room for more rows")
    expect(page.get_by_role("main")).to_contain_text("State of the data")
    expect(page.get_by_role("log")).to_contain_text("the shelf is full")

    page.goto(url)
    page.get_by_role("link", name="Roll back").first.click()
    expect(page.get_by_role("region", name="Plan")).to_contain_text("Title of a2")
    assert store.states()["a2"] == "applied", "the plan alone changes nothing"
    page.get_by_role("button", name="Roll back").click()
    page.wait_for_url("**/audit/*")
    expect(page.get_by_role("main").get_by_text("ok", exact=True).first).to_be_visible()
    assert store.states() == {"a1": "applied", "a2": "pending", "a3": "failed"}

    page.get_by_role("navigation").get_by_role("link", name="Audit").click()
    row = page.locator("tr").filter(has_text="downgrade")
    expect(row).to_contain_text("ok")
    expect(row).to_contain_text("local")


def test_a_log_is_followed_live(shop: Project, served: Served, page: Page) -> None:
    """Lines appear in an open page while the script says them, each once, until the page says that the run ended."""
    talks = """
        import asyncio
        for number in range(40):
            ctx.log.info("line %02d of forty", number)
            await asyncio.sleep(0.1)
    """
    shop.revision("main", "a1", upgrade=talks)
    url = served(shop)
    upgrade = shop.start("upgrade")
    until(lambda: httpx2.get(f"{url}/scripts/runs?status=running").json()["runs"], "it runs")
    (run,) = httpx2.get(f"{url}/scripts/runs").json()["runs"]
    page.goto(f"{url}/runs/{run['run_id']}")
    unmoved = same_document(page)
    expect(page.get_by_role("log")).to_contain_text("line 39 of forty")
    expect(page.get_by_role("main")).to_contain_text("ended")
    assert unmoved()
    text = page.get_by_role("log").inner_text()
    assert [text.count(f"line {number:02} of forty") for number in range(40)] == [1] * 40
    assert upgrade.wait().exit_code == 0


def test_a_long_change_is_steered(store: Project, served: Served, page: Page) -> None:
    """Pause and resume are pressed in the page, and the program at work obeys."""
    url = served(store)
    upgrade = store.start("upgrade", "a2", env={"PACE": "80"})
    page.goto(url)
    until(lambda: done(page) > 0, "the bar is there")
    page.get_by_role("link", name="watch").click()
    page.get_by_role("button", name="Pause").click()
    until(lambda: httpx2.get(f"{url}/api/changes").json()["changes"][0]["waiting"].startswith("paused"), "it stands")
    page.reload()
    page.get_by_role("button", name="Resume").click()
    assert upgrade.wait().exit_code == 0
    page.reload()
    expect(page.get_by_role("main")).to_contain_text(f"{ROWS:,}")


def test_a_protected_environment_asks_for_its_name(shop: Project, served: Served, page: Page) -> None:
    """A rollback there is refused until the name of the environment is typed."""
    shop.tables("main", "a1", "a2")
    shop.good("upgrade")
    url = served(shop, "[environments.development]\nprotected = true")
    page.goto(f"{url}/rollback?database=main&target=-1")
    page.get_by_role("textbox").last.fill("staging")
    page.get_by_role("button", name="Roll back").click()
    page.wait_for_load_state()
    assert shop.states()["a2"] == "applied"
    page.goto(f"{url}/rollback?database=main&target=-1")
    page.get_by_role("textbox").last.fill("development")
    page.get_by_role("button", name="Roll back").click()
    page.wait_for_url("**/audit/*")
    expect(page.get_by_role("main").get_by_text("ok", exact=True).first).to_be_visible()
    assert shop.states()["a2"] == "pending"


def test_without_javascript(shop: Project, served: Served, browser: Browser) -> None:
    """Everything can be read, and a rollback be done, where no script runs."""
    shop.tables("main", "a1", "a2")
    shop.good("upgrade")
    url = served(shop)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    expect(page.get_by_role("main")).to_contain_text("Title of a2")
    page.get_by_role("link", name="Roll back").first.click()
    page.get_by_role("button", name="Roll back").click()
    page.wait_for_url("**/audit/*")
    until(lambda: shop.states()["a2"] == "pending", "it was rolled back")
    page.reload()
    expect(page.get_by_role("main")).to_contain_text("ok")
    context.close()


def test_with_the_keyboard_alone(shop: Project, served: Served, page: Page) -> None:
    """The first stop of the tabulator skips to what the page is about; what has the focus can be seen."""
    shop.tables("main", "a1")
    page.goto(served(shop))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')").startswith("#")
    page.keyboard.press("Enter")
    for _ in range(4):
        page.keyboard.press("Tab")
        look = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert look != "none", page.evaluate("document.activeElement.outerHTML")


@pytest.mark.parametrize("path", ["/", "/history", "/runs", "/audit", "/schedules", "/statistics", "/locks", "/tokens"])
def test_on_a_phone(path: str, shop: Project, served: Served, browser: Browser) -> None:
    """No page is wider than a phone."""
    shop.tables("main", "a1", "a2")
    shop.good("upgrade", "a1")
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
    page = context.new_page()
    page.goto(served(shop) + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()
