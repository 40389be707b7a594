"""The app as an OpenAPI document: every refusal is a problem, and whoever asks shows a token or a password."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from migrator.dashboard._documents import Problem
from migrator.dashboard._problems import MEDIA_TYPE

DESCRIPTION = """The HTTP API of migrator: what happened to the databases, and what may be changed.

Every refusal is an `application/problem+json`. Every change is written down in the audit before it begins; one with an
`Idempotency-Key` is done once, however often it is asked for. Lists go on with `after`."""

_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REFUSED = {
    "4XX": {"description": "It is refused; nothing was changed.", "content": _PROBLEM},
    "5XX": {"description": "A database, or this server, could not do it.", "content": _PROBLEM},
}


class Api(FastAPI):
    """A FastAPI app with that document."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = self._document()
        return self.openapi_schema

    def allowed(self, path: str) -> str:
        """Return the methods that a path knows, as the header `Allow` has them; "" for a path that is not in here."""
        paths = self.openapi()["paths"]
        fits = (each for each in paths if re.fullmatch(re.sub(r"{\w+}", "[^/]+", each), path))
        found = path if path in paths else next(fits, "")
        return ", ".join(sorted(method.upper() for method in paths.get(found, ())))

    def _document(self) -> dict[str, Any]:
        made = get_openapi(title=self.title, version=self.version, description=DESCRIPTION, routes=self.routes)
        for path in made["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
                operation["responses"].update(_REFUSED)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Problem"] = Problem.model_json_schema()
        made["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"},
            "password": {"type": "http", "scheme": "basic"},
        }
        made["security"] = [{"token": []}, {"password": []}, {}]
        return made
