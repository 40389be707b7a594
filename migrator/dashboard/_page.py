"""A page: a template filled with values. All are escaped, and in all but links every secret is hidden."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Form
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from migrator.config import Config
from migrator.core.journal import Identity, Role
from migrator.core.retention import size
from migrator.core.secrets import Mask
from migrator.core.wording import amount, duration, loop_report, remaining
from migrator.dashboard import _words
from migrator.dashboard._actions import Actions, Caller
from migrator.dashboard._asked import Ask, Who
from migrator.dashboard._asking import Asking
from migrator.dashboard._identities import COOKIE
from migrator.dashboard._problems import lesser
from migrator.runtime.runs import new_id

HERE = Path(__file__).parent
STATIC = HERE / "static"


class Page:
    """One call for a page: who asks and what they may; `show` answers it."""

    def __init__(self, request: Request, asking: Asking, who: Identity) -> None:
        self.request, self.asking, self.who = request, asking, who
        self.now = datetime.now(UTC)
        self._root = str(request.scope.get("root_path", "")).rstrip("/")

    @property
    def config(self) -> Config:
        """Return the configuration that is served."""
        return self.asking.config

    @property
    def here(self) -> str:
        """Return the path of this page, without where the app is mounted."""
        return str(self.request.scope["path"]).removeprefix(self._root) or "/"

    @property
    def release(self) -> str:
        """Return the version of migrator."""
        return version("polymigrator")

    @property
    def logged_in(self) -> bool:
        """Say whether the caller came in by the page on which to log in, and so can go out again."""
        return COOKIE in self.request.cookies

    @property
    def key(self) -> str:
        """Return a fresh key for a form, so that what is sent twice is done once."""
        return new_id()

    def scope(self, *databases: str) -> tuple[str, ...]:
        """Return the databases that are meant, () as all that the caller may see. Raises Refusal (404)."""
        return self.asking.scope(self.who, [name for name in databases if name])

    def may(self, role: str, *databases: str) -> bool:
        """Say whether the caller may press a button that needs a role; nobody may where the server is read-only."""
        return not self.config.web.read_only and self.who.may(Role(role), databases)

    def need(self, role: str, *databases: str) -> None:
        """Raise Refusal (403) unless the caller has the role."""
        if not self.who.may(Role(role), databases):
            raise lesser(self.who, Role(role))

    def actions(self, confirm: str = "", key: str = "") -> Actions:
        """Return the changes that the caller may ask for."""
        address = self.request.client.host if self.request.client else ""
        return Actions(self.asking, Caller(self.who, address, key, confirm))

    def path(self, path: str, **query: object) -> Markup:
        """Return the address of a page of ours, for a link; what is empty in the query is left out."""
        return Markup(escape(self.address(path, **query)))  # noqa: S704 - it is escaped right here

    def address(self, path: str, **query: object) -> str:
        """Return the address of a page of ours as it is."""
        asked = [(name, value) for name, value in query.items() if value not in ("", None, (), [])]
        return f"{self._root}{path}" + (f"?{urlencode(asked, doseq=True)}" if asked else "")

    def static(self, name: str) -> Markup:
        """Return the address of a file that comes with the pages; it changes with the file."""
        return self.path(f"/static/{name}", v=_VERSIONS[name])

    def ago(self, text: str) -> str:
        """Return how long ago a time was."""
        return _words.ago(text, self.now)

    def show(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Fill a template."""
        return HTMLResponse(self.text(template, **values), status, headers={"cache-control": "no-store"})

    def text(self, template: str, **values: Any) -> str:
        """Return a filled template, or a piece of a page."""
        return _environment(self).get_template(template).render(page=self, **values)

    def go(self, path: str, **query: object) -> RedirectResponse:
        """Send a browser that has posted a form on to a page."""
        return RedirectResponse(self.address(path, **query), 303)


def _environment(page: Page) -> Environment:
    """Return the templates of an app, read once; they hide the secrets of its configuration."""
    state = page.request.app.state
    found: Environment | None = getattr(state, "templates", None)
    if found is None:
        found = state.templates = environment(page.config.mask())
    return found


def environment(mask: Mask) -> Environment:
    """Return the templates. What is no markup yet is masked and then escaped, whatever a template says."""

    def finalize(value: Any) -> Any:
        if value is None:
            return ""
        return value if isinstance(value, Markup | int | float) else mask(str(value))

    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        exact=escape,
        look=_words.look,
        clock=_words.clock,
        next_day=_words.next_day,
        span=_words.span,
        timely=_words.timely,
        spoken=lambda text: _words.spoken(mask(str(text))),
        sought=lambda text, what: _words.sought(mask(text), what),
        duration=duration,
        size=size,
        remaining=remaining,
        loop_report=loop_report,
        count=lambda number: f"{number:,}",
    )
    made.globals.update(amount=amount)
    return made


async def _page(request: Request, asking: Ask, who: Who) -> Page:
    return Page(request, asking, who)


async def _acting(
    page: Annotated[Page, Depends(_page)],
    confirm: Annotated[str, Form(max_length=200)] = "",
    key: Annotated[str, Form(max_length=200)] = "",
) -> Actions:
    return page.actions(confirm, key)


Shown = Annotated[Page, Depends(_page)]
"""What a route for a page is given."""
Acting = Annotated[Actions, Depends(_acting)]
"""What a route for a form is given: the changes that the caller may ask for."""

_VERSIONS = {
    each.name: sha256(each.read_bytes()).hexdigest()[:12] for each in sorted(STATIC.iterdir()) if each.is_file()
}
"""By its name, what tells one state of a static file from the next."""


def chosen(text: str, among: Sequence[str]) -> str:
    """Return a word of a query where it is one that there is, else ""."""
    return text if text in among else ""
