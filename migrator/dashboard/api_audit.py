"""Who asked for what, and what became of it; and the tokens with which they ask."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from migrator.core.journal import Entry, Role, Token
from migrator.dashboard import _documents as documents
from migrator.dashboard import _reports as reports
from migrator.dashboard._answers import answer
from migrator.dashboard._asked import Act, Ask, Who
from migrator.dashboard._bodies import NO_NUL, TokenBody
from migrator.dashboard._problems import Refusal
from migrator.dashboard._strict import STRICT

router = APIRouter(prefix="/api", tags=["audit"], dependencies=STRICT)

PAGE, PAGES = 500, 10
"""How many entries are read at once for callers who may see only some of them, and how often."""


class Asked(BaseModel):
    """Which entries."""

    action: Annotated[str, Field(max_length=100, pattern=NO_NUL, description="Such as upgrade.")] = ""
    after: Annotated[
        str, Field(pattern="^[0-9A-Za-z]{0,64}$", description="Go on behind the last entry of the page before.")
    ] = ""
    limit: Annotated[int, Field(ge=1, le=500)] = 50


@router.get("/audit", response_model=documents.Entries)
async def audit(asked: Annotated[Asked, Query()], asking: Ask, who: Who) -> JSONResponse:
    """List who asked for what, newest first: of callers who may see some databases, what was about those."""
    found: list[Entry] = []
    after = asked.after
    size = asked.limit + 1 if who.sees(()) else PAGE
    for _ in range(PAGES):
        page = await asking.questions.journal.entries(action=asked.action, after=after, limit=size)
        found += [each for each in page if who.sees(each.databases)]
        after = page[-1].entry_id if len(page) == size else ""
        if not after or len(found) > asked.limit:
            break
    if len(found) > asked.limit:
        found = found[: asked.limit]
        after = found[-1].entry_id
    return answer(asking, {"entries": found, "after": after})


@router.get("/audit/{entry_id}", response_model=documents.Entry, name="entry")
async def entry(entry_id: Annotated[str, Path(pattern="^[0-9A-Za-z]{1,64}$")], asking: Ask, who: Who) -> JSONResponse:
    """Return one entry: what was asked, and how it ended or that it is running."""
    found = await asking.questions.journal.entry(entry_id)
    if not who.sees(found.databases):
        raise Refusal(404, f"the audit has no entry {entry_id!r}")
    return answer(asking, found)


@router.get("/tokens", response_model=reports.Tokens)
async def tokens(asking: Ask, who: Who) -> JSONResponse:
    """List the tokens, for admins of all databases."""
    if not who.may(Role.ADMIN):
        raise Refusal(403, f"{who.name} is {who.role}, and this needs an admin of all databases")
    return answer(asking, {"tokens": [_told(each) for each in await asking.questions.journal.tokens()]})


@router.post("/tokens", status_code=201, response_model=reports.NewToken)
async def make_token(body: TokenBody, act: Act, asking: Ask) -> JSONResponse:
    """Make a token. Its text is in this answer, and nowhere else."""
    made, text = await act("").make_token(body.name, Role(body.role), body.databases, body.days)
    return answer(asking, {"entry": made, "text": text}, 201)


@router.delete("/tokens/{token}", response_model=documents.Entry)
async def revoke_token(
    token: Annotated[str, Path(max_length=200, pattern=NO_NUL, description="Its name or id.")], act: Act, asking: Ask
) -> JSONResponse:
    """End a token: whoever asks with it from now on is refused."""
    return answer(asking, await act("").revoke_token(token))


def _told(token: Token) -> dict[str, object]:
    return {name: value for name, value in vars(token).items() if name != "sha256"}
