"""The history of a database as a drawn graph, newest first, a window of it at a time."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse

from migrator.core.history import History
from migrator.core.report import DatabaseReport, Line
from migrator.core.revision import Key
from migrator.dashboard._drawn import LANE, Row, graph
from migrator.dashboard._page import Page, Shown
from migrator.dashboard._standing import reported

router = APIRouter(include_in_schema=False)

WINDOW = 100
"""How many revisions one page has."""

MOST = 8
"""How many lanes get their full width; more of them share it."""

STATES = ("applied", "pending", "failed", "running", "interrupted", "blocked", "drifted", "unknown", "elsewhere")
STANDING = ("applied", "drifted", "unknown")
"""States of revisions that are in the database."""

Text = Annotated[str, Query(max_length=200)]


@router.get("/history")
async def history(
    page: Shown, database: Text = "", state: Text = "", q: Text = "", at: Annotated[int, Query(ge=0, le=10**7)] = 0
) -> HTMLResponse:
    """Show the history of one database. Where it is narrowed, as a list without lines."""
    name = page.scope(database)[0]
    report = await reported(page.asking, name)
    whole = await page.asking.shared("history", page.asking.questions.history)
    newest = report.lines[::-1]
    narrowed = bool(state or q)
    found = [line for line in newest if _matches(line, state, q)] if narrowed else list(newest)
    rows = [None] * len(found) if narrowed else drawn(whole, report)
    shown = list(zip(found, rows, strict=True))[at : at + WINDOW]
    lanes = max((row.lanes for _, row in shown if row is not None), default=0)
    return page.show(
        "history.html",
        database=name,
        databases=page.scope(),
        report=report,
        shown=shown,
        total=len(found),
        at=at,
        window=WINDOW,
        states=STATES,
        state=state,
        q=q,
        lane=min(LANE, LANE * MOST // max(lanes, 1)),
        lanes=min(lanes, MOST),
        links=_links(page, whole, [line for line, _ in shown]),
    )


def drawn(history: History, report: DatabaseReport) -> list[Row]:
    """Return the rows of the graph, newest first: what has no file here stands above, without lines."""
    order = [line.revision for line in reversed(report.lines)]
    parents = {name: _parents(history, report.name, name) for name in order}
    applied = {line.revision for line in report.lines if line.state in STANDING}
    return graph(order, parents, applied)


def _parents(history: History, database: str, name: str) -> list[str]:
    key = Key(database, name)
    return [parent.id for parent in history[key].down] if key in history else []


def _links(page: Page, history: History, lines: list[Line]) -> dict[str, list[Key]]:
    """Return what each revision needs beside its parents, as far as the caller may see it."""
    seen = set(page.scope())
    keys = [Key(line.database, line.revision) for line in lines]
    return {
        key.id: [each for each in history.parents(key) if each not in history[key].down and each.database in seen]
        for key in keys
        if key in history
    }


def _matches(line: Line, state: str, q: str) -> bool:
    sought = f"{line.revision} {line.title} {' '.join(line.labels)}".casefold()
    return state in ("", line.state) and q.casefold() in sought
