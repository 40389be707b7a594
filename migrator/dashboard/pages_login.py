"""Who may come in: logging in and out on a page, and the tokens of programs and people."""

from typing import Annotated

from fastapi import APIRouter, Form, Path
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from migrator.core.errors import UsageError
from migrator.core.journal import Role
from migrator.dashboard._page import Acting, Page, Shown
from migrator.dashboard._problems import Refusal
from migrator.dashboard.pages_problem import NOBODY
from migrator.dashboard.security import forget, keep, log_in
from migrator.keeping import LONGEST_DAYS

router = APIRouter(include_in_schema=False)

Word = Annotated[str, Form(max_length=1000)]


@router.get("/login")
async def login(request: Request) -> HTMLResponse:
    """Show the form for a token, or a name and a password."""
    return _form(request)


@router.post("/login")
async def logged_in(request: Request, token: Word = "", name: Word = "", password: Word = "") -> Response:
    """Let somebody in, or show the form again with what is wrong."""
    try:
        text = await log_in(request, token=token, name=name, password=password)
    except Refusal as refusal:
        shown = _form(request, refusal)
        shown.headers.update({key: value for key, value in refusal.headers.items() if key != "www-authenticate"})
        return shown
    answer = _page(request).go("/")
    keep(request, answer, text)
    return answer


@router.post("/logout")
async def logout(request: Request) -> RedirectResponse:
    """Let the browser forget who it is."""
    answer = _page(request).go("/login")
    forget(request, answer)
    return answer


def _page(request: Request) -> Page:
    return Page(request, request.app.state.asking, NOBODY)


def _form(request: Request, refusal: Refusal | None = None) -> HTMLResponse:
    page = _page(request)
    users = bool(page.config.web.users)
    return page.show("login.html", refusal.status if refusal else 200, refusal=refusal, users=users)


@router.get("/tokens")
async def tokens(page: Shown) -> HTMLResponse:
    """List the tokens, for admins of all databases."""
    return await _tokens(page)


@router.post("/tokens")
async def make_token(
    page: Shown,
    act: Acting,
    name: Annotated[str, Form(min_length=1, max_length=200, pattern=r"^[^\x00]*$")],
    role: Annotated[str, Form(max_length=20)],
    databases: Annotated[list[str] | None, Form(max_length=100)] = None,
    days: Annotated[float, Form(ge=0, le=LONGEST_DAYS)] = 0,
) -> HTMLResponse:
    """Make a token, and show its text this once: nobody can find it out again."""
    if role not in tuple(Role):
        raise UsageError(f"{role!r} is no role", state="Nothing was changed.", hint=f"Known: {', '.join(Role)}")
    _, text = await act.make_token(name.strip(), Role(role), databases or [], days)
    return await _tokens(page, name.strip(), text)


@router.post("/tokens/{token}/revoke")
async def revoke(page: Shown, act: Acting, token: Annotated[str, Path(max_length=200)]) -> RedirectResponse:
    """End a token."""
    await act.revoke_token(token)
    return page.go("/tokens")


async def _tokens(page: Page, name: str = "", text: str = "") -> HTMLResponse:
    page.need("admin")
    found = await page.asking.questions.journal.tokens()
    ended = [each for each in found if each.ended(page.now)]
    return page.show(
        "tokens.html",
        live=[each for each in found if each not in ended],
        ended=ended,
        made=name,
        text=text,
        roles=list(Role),
    )
