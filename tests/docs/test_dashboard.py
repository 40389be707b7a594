"""What docs/dashboard.md says of the pages is what there is."""

import re

from migrator.config import load
from migrator.dashboard import pages_history, pages_overview, pages_run, pages_runs, pages_statistics, pages_upkeep
from migrator.dashboard.app import create_app
from tests.docs.test_readme import ROOT

TEXT = (ROOT / "docs" / "dashboard.md").read_text("utf-8")


def test_the_pictures_are_there() -> None:
    """Each that is shown is a picture of less than 200 kB, and none is left over."""
    shown = set(re.findall(r"images/([\w-]+\.png)", TEXT))
    there = {path.name for path in (ROOT / "docs" / "images").glob("*.png")}
    assert shown == there
    for name in there:
        picture = (ROOT / "docs" / "images" / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 200_000, name


def test_the_pages_and_the_figures() -> None:
    """Every path that is named is a page, and each figure is the one that holds."""
    config = load(None, {"DATABASE_URL": "postgresql://localhost/shop"})
    routes: list[str] = [getattr(each, "path", "") for each in _all(create_app(config).routes)]
    pages = {re.sub(r"\{\w+\}", "X", path) for path in routes}
    for path in re.findall(r"`(/[a-zA-Z/]*)`", TEXT):
        assert re.sub(r"[A-Z]+", "X", path) in pages, path
    for figure in (
        f"the last {pages_overview.DAYS} days",
        f"{pages_history.WINDOW} on a page",
        f"They come {pages_runs.PAGE} at a\ntime",
        f"Of the last {pages_runs.USUAL[:-1]} days",
        f"up to {pages_runs.MOST:,}",
        f"its last {pages_run.LINES:,} lines",
        f"at most {2 * pages_run.LINES:,} stay",
        f"the next {pages_upkeep.NEXT} firings",
        f"the {pages_statistics.SLOWEST} slowest",
    ):
        assert figure in TEXT, figure


def _all(routes: object) -> list[object]:
    """Return the routes, those of routers within among them."""
    found: list[object] = []
    for each in routes:  # type: ignore[attr-defined]
        within = getattr(each, "routes", None) or getattr(getattr(each, "original_router", None), "routes", None)
        found += _all(within) if within else [each]
    return found
