"""The parameters of a script: texts from a command line, or values from code, made into its own `Params`."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_type_hints

import msgspec

from migrator.core.errors import UsageError
from migrator.core.revision import Revision, Script
from migrator.core.utf8 import readable
from migrator.runtime.calling import guarded

HIDDEN = "***"
_LARGEST = 2**63
_SECRET = re.compile(r"passw|secret|token|credential|api_?key|private", re.IGNORECASE)
_UNCHANGED = "Nothing was changed."


@dataclass(frozen=True)
class Params:
    """The parameters of one run: `value` is what the script gets, `shown` what people and the tracker see.

    `plain` is the value in plain types, secrets as they are, for another process that makes the same value of it.
    """

    value: Any = field(default=None, repr=False)
    shown: Mapping[str, Any] | None = None
    plain: Mapping[str, Any] = field(default_factory=dict, repr=False)
    secrets: frozenset[str] = field(default_factory=frozenset, repr=False)


@dataclass(frozen=True)
class Field:
    """One parameter as `migrator show` lists it. `default` is JSON, "" for a required one."""

    name: str
    type: str
    default: str

    @property
    def required(self) -> bool:
        """Say whether it must be given."""
        return not self.default


def fields_of(script: Script) -> tuple[Field, ...]:
    """Return the parameters that a script takes, in order."""
    if script.Params is None:
        return ()
    hints = get_type_hints(script.Params)
    with guarded():
        return tuple(
            Field(each.name, _type_name(hints.get(each.name, each.type)), _default(each))
            for each in msgspec.inspect.type_info(script.Params).fields  # type: ignore[attr-defined]
        )


def read(revision: Revision, script: Script, given: Mapping[str, Any]) -> Params:
    """Return the parameters of one script. UsageError, with the path of what is wrong, before anything starts.

    A text is taken as it is for a parameter that is a text, else read as JSON where it is JSON.
    """
    known = {each.name: each for each in fields_of(script)}
    for name in given:
        if name not in known:
            raise UsageError(
                f"{revision.id} has no parameter {name!r}", state=_UNCHANGED, hint=_known(name, tuple(known))
            )
    if script.Params is None:
        return Params()
    values = {name: _value(value, known[name].type) for name, value in given.items()}
    try:
        with guarded():
            value: Any = msgspec.convert(values, script.Params, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"the parameters of {revision.id}: {_plain(error, values)}",
            state=_UNCHANGED,
            hint=f"`migrator show {revision.id}` lists them.",
        ) from None
    plain = msgspec.to_builtins(value)
    for name, each in plain.items():
        _refuse_unstorable(revision, name, each)
    hidden = {name for name in plain if _SECRET.search(name)}
    shown = {name: HIDDEN if name in hidden else each for name, each in plain.items()}
    return Params(value, shown, plain, frozenset(str(plain[name]) for name in hidden if plain[name]))


def _refuse_unstorable(revision: Revision, path: str, value: Any) -> None:
    """Raise UsageError for what the tracker cannot keep: it is JSON on one kind of database and BSON on the other."""
    if isinstance(value, dict):
        for key, each in value.items():
            _refuse_unstorable(revision, f"{path}.{key}", key)
            _refuse_unstorable(revision, f"{path}.{key}", each)
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            _refuse_unstorable(revision, f"{path}[{number}]", each)
    elif odd := _oddity(value):
        raise UsageError(
            f"the parameter {path} of {revision.id} is {odd}, which the tracker cannot keep",
            state=_UNCHANGED,
            hint="Give a finite number or a text; a value without a number is null.",
        )


def _oddity(value: Any) -> str:
    """Return what a value is that cannot be stored, "" for one that can."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        return "an integer of more than 64 bits"
    if isinstance(value, str) and readable(value) != value:
        return "a text with NUL or with what is not UTF-8"
    return ""


def portable(params: Params) -> Params:
    """Return the parameters for another process: without `value`, whose type only the revision's own file has."""
    return replace(params, value=None)


def arrived(script: Script, params: Params) -> Params:
    """Return parameters that `portable` made ready, with their value again."""
    if script.Params is None:
        return params
    return replace(params, value=msgspec.convert(params.plain, script.Params, strict=False))


def parse(pairs: tuple[str, ...], behind: tuple[str, ...]) -> dict[str, str]:
    """Read `key=value` pairs, and `--key=value` or `--key value` from behind `--`; `--key` alone is true."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(
                f"--param {pair!r} is no key=value", state=_UNCHANGED, hint="For example `--param days=30`."
            )
        found[name.replace("-", "_")] = value
    rest = list(behind)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            raise UsageError(f"{word!r} is no parameter", state=_UNCHANGED, hint="Behind `--` write `--key value`.")
        name, equals, value = word[2:].partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        found[name.replace("-", "_")] = value
    return found


def _value(value: Any, kind: str) -> Any:
    if not isinstance(value, str) or kind.split(" ", 1)[0] == "str":
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _default(each: Any) -> str:
    if each.required:
        return ""
    if each.default_factory is not msgspec.NODEFAULT:
        return json.dumps(msgspec.to_builtins(each.default_factory()), default=str)
    shown = HIDDEN if _SECRET.search(each.name) and each.default else msgspec.to_builtins(each.default)
    return json.dumps(shown, default=str)


def _plain(error: msgspec.ValidationError, values: Mapping[str, Any]) -> str:
    """Return msgspec's message without the value of a secret."""
    text = str(error)
    for name, value in values.items():
        if _SECRET.search(name) and value:
            text = text.replace(str(value), HIDDEN)
    return text


def _known(name: str, known: tuple[str, ...]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]}?"
    return f"It takes {', '.join(known)}." if known else "It takes none."
