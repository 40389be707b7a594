"""Writes docs/api.md from the OpenAPI document of the app: `make api`. A test says when it was forgotten."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from migrator.config import load
from migrator.dashboard.app import create_app

HERE = Path(__file__).parent / "api.md"

HEAD = """# The HTTP API

`migrator serve` answers it, beside the pages; `docs/operate.md` says how it is set up and who may ask. The same as an
OpenAPI document for programs is at `/api/openapi.json`. This page is written from it by `make api`.

- **Who asks** shows a token (`Authorization: Bearer mgr_...`) or a password (basic); from this machine nobody needs one
  until the first is set up. What a caller may not see is not there for them: 404.
- **Roles**: a viewer reads. An operator also plans, upgrades, downgrades, verifies, runs scripts, and pauses, resumes,
  cancels, tunes and retries long changes. The rest needs an admin: to run with `force`, clean up, resolve, delete, end
  a lock, and make tokens. In a protected environment, what takes something away needs its name as `confirm`.
- **Refusals** are `application/problem+json`: what happened (`detail`), what state the data is in (`state`), what to do
  next (`hint`), and the exit code that the command line would end with.
- **Changes** are written down in the audit before they begin. What takes long answers 202 with its entry, and
  `Location` says where to ask how it ended. With an `Idempotency-Key` a call is done once, however often it is sent;
  with another body the key is refused (422). `/api/plan` answers with the `mark` of the plan: sent as `agreed`, that
  plan runs and any other is refused (409), so that `-1` sent twice takes down one revision.
- **Lists** go on with `after`, which every page tells for the next one.

```console
$ curl -s localhost:8420/scripts/runs?status=failed
$ curl -s -X POST localhost:8420/api/upgrade -H 'content-type: application/json' -d '{"targets": ["head"]}'
$ curl -sN localhost:8420/scripts/runs/01k9xxyyzz0a1/events
```
"""


def document() -> dict[str, Any]:
    """Return the OpenAPI document of an app that asks nobody."""
    return create_app(load(environ={"DATABASE_URL": "postgresql://nobody@nowhere/nothing"})).openapi()


def text() -> str:
    """Return docs/api.md as it should be."""
    made = document()
    parts = [HEAD]
    tagged: dict[str, list[str]] = {}
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            tagged.setdefault(operation["tags"][0], []).append("\n".join(_operation(method.upper(), path, operation)))
    for tag, operations in tagged.items():
        parts.append(f"## {tag.capitalize()}\n")
        parts.extend(operations)
    parts.append("## Values\n")
    for name, schema in sorted(made["components"]["schemas"].items()):
        parts.append("\n".join(_schema(name, schema)))
    return "\n".join(parts)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### `{method} {path}`\n"
    yield f"{operation.get('description', '')}\n"
    told = ("path", "idempotency-key")
    parameters = [each for each in operation.get("parameters", ()) if not {each["in"], each["name"]} & {*told}]
    for each in parameters:
        where = "" if each["in"] == "query" else f" ({each['in']})"
        yield f"- `{each['name']}`{where}: {_field(each['schema'])}"
    if parameters:
        yield ""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        yield f"Takes {_type(body)}.\n"
    answers = [
        f"{status} {' or '.join(_answer(*each) for each in answer.get('content', {}).items())}".rstrip()
        for status, answer in operation["responses"].items()
        if status.isdecimal()
    ]
    yield f"Answers {', '.join(answers)}.\n"


def _answer(media: str, content: Mapping[str, Any]) -> str:
    schema = content.get("schema", {})
    return _type(schema) if media == "application/json" and schema else f"`{media}`"


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"{schema.get('description', '')}\n"
    needed = schema.get("required", ())
    for field, each in schema.get("properties", {}).items():
        must = " (needed)" if field in needed and name.endswith("Body") else ""
        yield f"- `{field}`{must}: {_field(each)}"
    yield ""


def _field(schema: Mapping[str, Any]) -> str:
    about = schema.get("description", "")
    default = schema.get("default") or ""
    return f"{_type(schema)}{f', by default `{default}`' if default else ''}{f'. {about}' if about else ''}"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        kinds = [_type(each) for each in schema["anyOf"] if "const" not in each]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return f"one of {', '.join(f'`{each}`' for each in schema['enum'])}"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema and schema["additionalProperties"] not in (True, False):
        return f"object of {_type(schema['additionalProperties'])}"
    kind = schema.get("format") or schema.get("type", "any value")
    bounds = [schema.get("minimum"), schema.get("maximum")]
    span = f" from {bounds[0]:g}" if bounds[0] is not None else ""
    return f"{kind}{span}" + (f" to {bounds[1]:,}" if bounds[1] is not None else "")


if __name__ == "__main__":
    HERE.write_text(text(), "utf-8")
