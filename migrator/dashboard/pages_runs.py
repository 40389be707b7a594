"""The list of runs, narrowed by a form, page by page; and the same as a file."""

import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import HTMLResponse, Response, StreamingResponse

from migrator.core.runs import WORDS, RunFilter, RunPage, moment
from migrator.dashboard._page import Page, Shown
from migrator.dashboard._plain import plain
from migrator.dashboard._standing import answering

router = APIRouter(include_in_schema=False)

USUAL = "7d"
"""How far back runs are shown where nobody says how far."""

PAGE, FILE = 50, 500
"""How many runs a page has, and a piece of a file."""

MOST = 200_000
"""How many runs go into one file."""

COLUMNS = (
    "run_id", "database", "revision", "title", "kind", "direction", "standing", "effect", "reason", "attempt",
    "started_at", "finished_at", "duration_ms", "user", "host", "pid", "release", "error",
)  # fmt: skip
"""The columns of a file for spreadsheets."""

Text = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]


@dataclass(frozen=True)
class Asked:
    """What the form says, as it was written."""

    script: str = ""
    status: str = ""
    database: str = ""
    user: str = ""
    since: str = USUAL
    until: str = ""

    def filter(self, page: Page) -> RunFilter:
        """Return it for the trackers. Raises ValueError with a sentence for who wrote it."""
        since, until = (moment(text.strip(), page.now) if text.strip() else "" for text in (self.since, self.until))
        return RunFilter(script=self.script.strip(), user=self.user.strip(), since=since, until=until)

    @property
    def words(self) -> tuple[str, ...]:
        """Return how the runs stand that are wanted, () for all."""
        return (self.status,) if self.status in WORDS else ()


async def _asked(
    script: Text = "", status: Text = "", database: Text = "", user: Text = "", since: Text = USUAL, until: Text = ""
) -> Asked:
    return Asked(script, status, database, user, since, until)


Wanted = Annotated[Asked, Depends(_asked)]


@router.get("/runs")
async def runs(
    page: Shown, asked: Wanted, after: Annotated[str, Query(pattern="^[0-9A-Za-z]{0,64}$")] = ""
) -> HTMLResponse:
    """List the runs, newest first."""
    names, wrong, found = page.scope(asked.database), "", RunPage(())
    try:
        wanted = asked.filter(page)
    except ValueError as error:
        wrong = str(error)
    else:
        names = await answering(page.asking, names)
        found = await _found(page, asked, wanted, names, after) if names else found
    return page.show(
        "runs.html",
        422 if wrong else 200,
        asked=asked,
        found=found,
        after=after,
        wrong=wrong,
        silent=[name for name in page.scope(asked.database) if name not in names],
        words=[word for word in WORDS if word != "pending"],
    )


async def _found(page: Page, asked: Asked, wanted: RunFilter, names: tuple[str, ...], after: str) -> RunPage:
    """Return a page of the runs of these databases."""
    past = page.asking.questions.past
    key = ("runs page", asked, names, after)  # not what is wanted: "7d" means another moment each time
    return await page.asking.shared(key, lambda: past.runs(wanted, asked.words, names, limit=PAGE, after=after))


@router.get("/runs.{kind}")
async def exported(page: Shown, asked: Wanted, kind: Literal["csv", "json"]) -> Response:
    """Send all runs that the form asks for as a file."""
    names = page.scope(asked.database)
    try:
        wanted = asked.filter(page)
    except ValueError as error:
        return page.show("problem.html", 422, said={"title": "No such time", "status": 422, "detail": error}, more={})
    make, media = {"csv": (_csv, "text/csv; charset=utf-8"), "json": (_json, "application/json")}[kind]
    headers = {"content-disposition": f'attachment; filename="runs.{kind}"', "cache-control": "no-store"}
    return StreamingResponse(make(_all(page, wanted, asked.words, names)), media_type=media, headers=headers)


Rows = AsyncIterator[list[dict[str, Any]]]


async def _all(page: Page, wanted: RunFilter, words: Sequence[str], names: tuple[str, ...]) -> Rows:
    """Yield the runs as values for a file, piece by piece: memory holds one."""
    after, sent = "", 0
    while sent < MOST:
        found = await page.asking.questions.past.runs(wanted, words, names, limit=FILE, after=after)
        yield [plain({**run.as_dict(), "standing": found.standing(run)}, page.config.mask()) for run in found.runs]
        after, sent = found.after, sent + len(found.runs)
        if not after:
            return


async def _csv(rows: Rows) -> AsyncIterator[str]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    async for some in rows:
        writer.writerows([_cell(each[name]) for name in COLUMNS] for each in some)
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _cell(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


async def _json(rows: Rows) -> AsyncIterator[str]:
    lead = '{"runs": ['
    async for some in rows:
        for each in some:
            yield f"{lead}\n{json.dumps(each)}"
            lead = ","
    yield "]}\n" if lead == "," else f"{lead}]}}\n"
