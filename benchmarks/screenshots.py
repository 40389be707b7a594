"""Takes the pictures of docs/dashboard.md: a shop with a past is served, and each page is photographed in Chromium.

    apt-get install chromium fonts-noto-core pngquant
    python -m benchmarks.screenshots [NAME ...]

Look at each of them before they are kept: they should please.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks._shop import Shop
from migrator.core.journal import Role

IMAGES = Path(__file__).parents[1] / "docs" / "images"
URL = "http://127.0.0.1:8431"
DESK, PHONE = (1280, 860), (360, 760)
LARGEST = 200_000
"""Bytes that a picture may have."""

Do = Callable[[Page], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """One picture: what is opened, what is done there first, and how it is looked at."""

    name: str
    path: str
    do: Do = field(default=lambda page: page.wait_for_timeout(400))
    dark: bool = False
    phone: bool = False
    height: int = 0


def run_of(page: Page, revision: str) -> str:
    """Return the newest run of a revision."""
    found = page.request.get(f"{URL}/scripts/runs?scriptId={revision}&limit=1").json()
    return str(found["runs"][0]["run_id"])


def to_run(revision: str, folder: str = "runs", wait: int = 400) -> Do:
    """Return what goes to the page of the newest run of a revision."""

    def do(page: Page) -> None:
        page.goto(f"{URL}/{folder}/{run_of(page, revision)}")
        page.wait_for_timeout(wait)

    return do


def press(button: str, seen: str) -> Do:
    """Return what presses a button and waits for a text."""

    def do(page: Page) -> None:
        page.get_by_role("button", name=button).first.click()
        page.get_by_text(seen).first.wait_for()
        page.wait_for_timeout(400)

    return do


def verified(page: Page) -> None:
    """Ask a verify, and go to the audit."""
    press("Verify", "What verify said")(page)
    page.goto(f"{URL}/audit")


BEFORE = (
    Picture("rollback", "/rollback?database=shop&target=51be77a0c2d4-1"),
    Picture("rollback-done", "/rollback?database=shop&target=51be77a0c2d4-1", press("Roll back", "Its runs")),
)
PICTURES = (
    Picture("overview", "/", height=1240),
    Picture("overview-dark", "/", dark=True, height=1240),
    Picture("overview-phone", "/", phone=True),
    Picture("history", "/history?database=shop"),
    Picture("history-phone", "/history?database=shop", phone=True),
    Picture("revision", "/revisions/shop/7b2fc2dc74e6"),
    Picture("runs", "/runs?status=failed"),
    Picture("run", "/", to_run("77aa01c93b5e"), height=1180),
    Picture("run-phone", "/", to_run("77aa01c93b5e"), phone=True),
    Picture("change", "/", to_run("d4417be90a3c", "changes", 45_000), height=1240),
    Picture("change-dark", "/", to_run("d4417be90a3c", "changes", 20_000), dark=True),
    Picture("schedules", "/schedules"),
    Picture("retention", "/retention"),
    Picture("statistics", "/statistics", height=1000),
    Picture("locks", "/locks", lambda page: page.locator("summary").first.click()),
)
AFTER = (Picture("audit", "/revisions/shop/24adebbe77f2", verified),)
TOKENS = Picture("tokens", "/tokens")


class Camera:
    """Takes pictures; those of one kind share a window, so that whoever logs in stays in."""

    def __init__(self, browser: Browser, wanted: list[str]) -> None:
        self._browser, self._wanted = browser, wanted
        self._windows: dict[tuple[bool, bool], Page] = {}

    def take(self, picture: Picture) -> None:
        """Open a page and keep how it looks. Whatever the browser complains of is an error."""
        if self._wanted and picture.name not in self._wanted:
            return
        page = self.window(dark=picture.dark, phone=picture.phone)
        width, height = PHONE if picture.phone else DESK
        page.set_viewport_size({"width": width, "height": picture.height or height})
        page.goto(f"{URL}{picture.path}")
        picture.do(page)
        file = IMAGES / f"{picture.name}.png"
        page.screenshot(path=file)
        subprocess.run(["pngquant", "--force", "--ext", ".png", "128", str(file)], check=True)
        size = file.stat().st_size
        print(f"{picture.name:16} {size / 1000:6.1f} kB")
        assert size < LARGEST, f"{file} is too large"

    def window(self, *, dark: bool = False, phone: bool = False) -> Page:
        """Return the window for pictures of this kind."""
        if (dark, phone) not in self._windows:
            context = self._browser.new_context(
                color_scheme="dark" if dark else "light", device_scale_factor=2 if phone else 1, is_mobile=phone
            )
            page = context.new_page()
            page.on("console", lambda message: print("  the browser says:", message.text))
            self._windows[dark, phone] = page
        return self._windows[dark, phone]


@contextmanager
def served(shop: Shop) -> Iterator[None]:
    """Serve the shop until the end of the block."""
    program = shop.begin("serve", "--port", URL.rpartition(":")[2])
    end = time.monotonic() + 30
    while True:
        try:
            urlopen(f"{URL}/healthz").close()
            break
        except URLError:
            assert program.poll() is None, "the server did not start"
            assert time.monotonic() < end, "the server took too long to start"
            time.sleep(0.1)
    yield
    program.terminate()
    program.wait()


async def tokens(shop: Shop) -> str:
    """Make some tokens, and return that of an admin."""
    async with shop.as_("maria") as maria:
        made = [
            await maria.journal.make_token(name, role, databases, days=days, by="maria")
            for name, role, databases, days in (
                ("grafana", Role.VIEWER, (), 0),
                ("deploy-events", Role.OPERATOR, ("events",), 90),
                ("maria", Role.ADMIN, (), 30),
            )
        ]
        return made[-1][1]


def main(wanted: list[str]) -> None:
    """Take the pictures that are wanted, by default all."""
    IMAGES.mkdir(exist_ok=True)
    program = shutil.which("chromium")
    assert program, "apt-get install chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, sync_playwright() as playwright:
        shop = Shop(Path(folder))
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            shop.make()
            _apart(shop.live())
            with served(shop):
                _take(shop, Camera(browser, wanted))
        finally:
            browser.close()
            shop.close()


def _take(shop: Shop, camera: Camera) -> None:
    for picture in BEFORE:
        camera.take(picture)
    _apart(shop.up_again())
    change = _apart(shop.go_on())
    for picture in PICTURES:
        camera.take(picture)
    change.terminate()
    change.wait()
    for picture in AFTER:
        camera.take(picture)
    token = _apart(tokens(shop))
    page = camera.window()
    page.goto(f"{URL}/login")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    camera.take(TOKENS)


def _apart(work: "Coroutine[Any, Any, T]") -> T:
    """Run a coroutine in a thread of its own: Playwright has a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


if __name__ == "__main__":
    main(sys.argv[1:])
