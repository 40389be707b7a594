"""The revisions: their states, their texts, and how the text that ran differs from the one on disk."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse

from migrator.core.revision import Key
from migrator.dashboard import _reports as reports
from migrator.dashboard._answers import answer
from migrator.dashboard._asked import Ask, Who
from migrator.dashboard._asking import Asking
from migrator.dashboard._bodies import NO_NUL
from migrator.dashboard._problems import Refusal
from migrator.dashboard._revision import found_revision
from migrator.dashboard._standing import reported
from migrator.dashboard._strict import STRICT
from migrator.dashboard._texts import COMPARED, compared

router = APIRouter(prefix="/api/revisions", tags=["revisions"], dependencies=STRICT)

Text = Annotated[str, Field(max_length=200, pattern=NO_NUL)]
State = Literal["applied", "pending", "failed", "drifted", "unknown", "running", "interrupted", "blocked", "elsewhere"]
Database = Annotated[str, Path(max_length=100, pattern=NO_NUL, description="A database of the configuration.")]
Id = Annotated[str, Path(pattern="^[A-Za-z0-9_]{1,64}$", description="The whole id of a revision or a script.")]


class Asked(BaseModel):
    """Which revisions."""

    database: list[Text] = []
    status: list[State] = []
    tag: Text = ""
    q: Annotated[Text, Field(description="In its id or title, whatever the case.")] = ""


@router.get("", response_model=reports.Revisions)
async def revisions(asked: Annotated[Asked, Query()], asking: Ask, who: Who) -> JSONResponse:
    """List revisions with their states, parents first."""
    scope = asking.scope(who, asked.database)
    reports = await asyncio.gather(*(reported(asking, name) for name in scope))
    lines = [line for report in reports for line in report.lines]
    if asked.status:
        lines = [line for line in lines if line.state in asked.status]
    if asked.q:
        sought = asked.q.casefold()
        lines = [line for line in lines if sought in f"{line.revision} {line.title}".casefold()]
    if asked.tag:
        history = await asking.shared("history", asking.questions.history)
        tagged = {each.key for each in history if asked.tag in each.header.tags}
        lines = [line for line in lines if Key(line.database, line.revision) in tagged]
    return await asyncio.to_thread(answer, asking, {"revisions": lines})  # there may be thousands


@router.get("/{database}/{revision}", response_model=reports.Revision)
async def revision(database: Database, revision: Id, asking: Ask, who: Who) -> JSONResponse:
    """Return one revision or script: its state, its constants, what it takes, and where its text is kept."""
    shown = await found_revision(asking, asking.scope(who, [database])[0], revision)
    header = {**vars(shown.header), "functions": sorted(shown.header.functions)}
    params = [dict(zip(("name", "type", "default"), each, strict=True)) for each in shown.params]
    return answer(
        asking,
        {
            "line": shown.line,
            "header": header,
            "params": params,
            "stored": bool(shown.stored),
            "on_disk": bool(shown.source),
            "differs": bool(shown.stored and shown.source and shown.stored != shown.source),
        },
    )


@router.get("/{database}/{revision}/source", response_class=PlainTextResponse)
async def source(
    database: Database,
    revision: Id,
    asking: Ask,
    who: Who,
    at: Annotated[Literal["stored", "disk"], Query(description="As it ran, or as it is in its file.")] = "disk",
) -> PlainTextResponse:
    """Return the text of a revision. 404 where there is none at that place."""
    shown = await found_revision(asking, asking.scope(who, [database])[0], revision)
    text = shown.stored if at == "stored" else shown.source
    if not text:
        where = "the tracker keeps no text" if at == "stored" else "there is no file"
        raise Refusal(404, f"{where} of {revision}", hint="The tracker keeps the text of what was applied.")
    return _plain(asking, text)


@router.get("/{database}/{revision}/diff", response_class=PlainTextResponse)
async def diff(database: Database, revision: Id, asking: Ask, who: Who) -> PlainTextResponse:
    """Return how the file differs from the text that ran, as a unified diff; "" where it does not."""
    shown = await found_revision(asking, asking.scope(who, [database])[0], revision)
    if not shown.stored or not shown.source:
        raise Refusal(404, f"of {revision} there is only one text", hint="Ask for its source.")
    lines = await asyncio.to_thread(compared, shown.stored, shown.source, shown.line.path)
    if lines is None:
        raise Refusal(409, f"the texts are too long to be compared here, with more than {COMPARED} lines")
    return _plain(asking, "".join(f"{each.text}\n" for each in lines))


def _plain(asking: Asking, text: str) -> PlainTextResponse:
    masked = asking.config.mask()(text).encode("utf-8", "replace")
    return PlainTextResponse(masked)
