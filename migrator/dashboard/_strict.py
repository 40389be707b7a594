"""Which query a route knows. A name that it does not know is a mistake that would silently ask for something else."""

from difflib import get_close_matches

from fastapi import Depends
from starlette.requests import Request

from migrator.dashboard._problems import Refusal


async def _only_known(request: Request) -> None:
    """Refuse names that the route does not know, and those that stand twice where it takes one."""
    route = request.scope["route"]
    operation = request.app.openapi()["paths"][route.path_format][request.method.lower()]
    known = {each["name"]: each["schema"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    for name in request.query_params:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known) or 'none'}"
            raise Refusal(422, f"there is no query parameter {name!r} here", hint=hint)
        if len(request.query_params.getlist(name)) > 1 and known[name].get("type") != "array":
            raise Refusal(422, f"the query parameter {name!r} stands there twice", hint="Give it once.")


STRICT = [Depends(_only_known)]
"""The dependencies of every router of the API."""
