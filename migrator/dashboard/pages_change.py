"""Long changes: which there are, and one of them as it goes on, with what can be asked of it."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.responses import HTMLResponse, RedirectResponse

from migrator.core.batch import FailedRow
from migrator.core.change import Change, rate
from migrator.core.errors import MigratorError, UsageError
from migrator.core.run import Run, Status
from migrator.core.runs import RunFilter
from migrator.dashboard._found import Found
from migrator.dashboard._page import Acting, Page, Shown
from migrator.dashboard._problems import Refusal
from migrator.dashboard._standing import answering
from migrator.dashboard._watching import Away, Ended, LogLines, watch

router = APIRouter(include_in_schema=False)

FAILURES = 100
"""How many rows that were passed over are shown one by one."""

SETTINGS = {
    "target": ("Seconds for a batch", "0.5"),
    "max_rows": ("Rows in a batch, at most", "100000"),
    "max_bytes": ("Bytes in a batch, at most", "8388608"),
    "max_rows_per_second": ("Rows a second, at most", "0 for no limit"),
}
"""What can be changed while a loop runs, with what it is called and what it is where nobody says."""

Reason = Annotated[str, Form(max_length=1000)]
Setting = Annotated[str, Form(max_length=40)]


@dataclass(frozen=True)
class Seen:
    """A long change, for the templates."""

    change: Change
    standing: str
    rate: float
    size: int
    rows: int
    still: dict[str, float]

    @classmethod
    def of(cls, change: Change) -> "Seen":
        """Return it with its sums over all loops."""
        still: dict[str, float] = {}
        for loop in change.loops:
            for kind, seconds in loop.throttled.items():
                still[kind] = still.get(kind, 0.0) + seconds
        standing = change.standing
        if change.run.status is not Status.PENDING and standing == "interrupted" and all(x.done for x in change.loops):
            standing = str(change.run.status)
        at_work = [loop for loop in change.loops if not loop.done] if change.at_work else []
        speed = sum(rate(loop) for loop in at_work)
        return cls(change, standing, speed, sum(loop.size for loop in at_work), change.rows, still)

    @property
    def sample(self) -> dict[str, Any]:
        """Return what the chart is drawn from."""
        return {"rows": self.rows, "size": self.size, "waiting": self.change.waiting}


@router.get("/changes")
async def changes(page: Shown) -> HTMLResponse:
    """List the long changes that run or stopped on their way."""
    names = await answering(page.asking, page.scope())
    ask = page.asking.questions.controls.changes
    found = await page.asking.shared(("changes", names), lambda: ask(names)) if names else ()
    return page.show("changes.html", found=[Seen.of(each) for each in found])


@router.get("/changes/{run_id}")
async def change(page: Shown, found: Found) -> HTMLResponse:
    """Show a long change, and go on showing it while it is at work."""
    (run,) = found.runs
    seen = await _seen(page, run)
    failures = await page.asking.questions.controls.failures(run)
    return page.show(
        "change.html",
        run=run,
        seen=seen,
        settings=SETTINGS,
        failures=failures[:FAILURES],
        more=max(len(failures) - FAILURES, 0),
        keys=_keys(failures),
    )


def _keys(failures: list[FailedRow]) -> list[str]:
    return [", ".join(map(str, each.key)) for each in failures[:FAILURES]]


async def _seen(page: Page, run: Run) -> Seen:
    """Return the long change of a run. Raises Refusal (404) where the run walked in no batches."""
    if not run.origin:
        raise Refusal(404, f"run {run.run_id} did not walk in batches", hint="Look at the run itself.")
    ask = page.asking.questions.controls.of
    return Seen.of(await page.asking.shared(("change", run.run_id, run.status), lambda: ask(run), 0.5))


@router.get("/changes/{run_id}/live", response_class=EventSourceResponse)
async def live(page: Shown, found: Found) -> AsyncIterator[ServerSentEvent]:
    """Send what changes on the page of a long change."""
    (run,) = found.runs
    async for _, told in watch(page.asking, run):
        if isinstance(told, LogLines):
            continue
        away = told.message if isinstance(told, Away) else ""
        try:
            now = (await page.asking.questions.past.runs(RunFilter(ids=(run.run_id,)), databases=[run.database])).runs
            seen = await _seen(page, now[0] if now else run)
        except MigratorError as error:
            yield ServerSentEvent(raw_data=page.text("live_change.html", away=error.message, seen=None, run=run))
            continue
        over = isinstance(told, Ended)
        values = {"away": away, "seen": seen, "run": seen.change.run, "over": over}
        yield ServerSentEvent(raw_data=page.text("live_change.html", **values))
        yield ServerSentEvent(event="sample", raw_data=json.dumps(seen.sample))
        if over:
            yield ServerSentEvent(event="end", raw_data="over")


@router.post("/changes/{run_id}/pause")
async def pause(page: Shown, act: Acting, found: Found, reason: Reason = "") -> RedirectResponse:
    """Let it stand still."""
    await act.pause(found.runs[0].run_id, reason.strip())
    return page.go(f"/changes/{found.runs[0].run_id}")


@router.post("/changes/{run_id}/resume")
async def resume(page: Shown, act: Acting, found: Found, reason: Reason = "") -> RedirectResponse:
    """Let it go on."""
    await act.resume(found.runs[0].run_id, reason.strip())
    return page.go(f"/changes/{found.runs[0].run_id}")


@router.post("/changes/{run_id}/cancel")
async def cancel(page: Shown, act: Acting, found: Found, reason: Reason = "") -> RedirectResponse:
    """End it after the batch it is at."""
    await act.cancel(found.runs[0].run_id, reason.strip())
    return page.go(f"/changes/{found.runs[0].run_id}")


@router.post("/changes/{run_id}/tune")
async def tune(
    page: Shown,
    act: Acting,
    found: Found,
    target: Setting = "",
    max_rows: Setting = "",
    max_bytes: Setting = "",
    max_rows_per_second: Setting = "",
) -> RedirectResponse:
    """Change its settings; a field that is empty leaves its setting as it is."""
    said = dict(zip(SETTINGS, (target, max_rows, max_bytes, max_rows_per_second), strict=True))
    words = [f"{name}={value.strip()}" for name, value in said.items() if value.strip()]
    if not words:
        raise UsageError("no field was filled", state="Nothing was changed.", hint="Go back, and fill at least one.")
    await act.tune(found.runs[0].run_id, words)
    return page.go(f"/changes/{found.runs[0].run_id}")


@router.post("/changes/{run_id}/retry-failed")
async def retry_failed(page: Shown, act: Acting, found: Found) -> RedirectResponse:
    """Take the rows that were passed over once more."""
    entry = await act.retry_failed(found.runs[0].run_id)
    return page.go(f"/audit/{entry.entry_id}")
