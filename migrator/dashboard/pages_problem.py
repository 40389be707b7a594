"""A refusal as people are told it: what happened, what state the data is in, what to do next."""

import json

from starlette.requests import Request
from starlette.responses import Response

from migrator.core.journal import Identity, Role
from migrator.dashboard._page import Page
from migrator.dashboard._problems import wants_page

NOBODY = Identity("nobody", Role.VIEWER, "", ("",))
"""Who asks where nobody knows: may see no database."""

_KNOWN = ("title", "status", "detail", "hint", "state", "type", "exit_code", "error", "errors")


def told(request: Request, problem: Response) -> Response:
    """Return an answer of `_problems` as a page where a person asks; as it is for programs."""
    if not wants_page(request):
        return problem
    said = json.loads(bytes(problem.body))
    page = Page(request, request.app.state.asking, getattr(request.state, "identity", NOBODY))
    more = {name: value for name, value in said.items() if name not in _KNOWN and value not in (None, "", [], {})}
    shown = page.show("problem.html", problem.status_code, said=said, more=more)
    shown.headers.update({name: value for name, value in problem.headers.items() if name not in _OF_BODY})
    return shown


_OF_BODY = ("content-type", "content-length")
