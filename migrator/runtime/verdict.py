"""Asking a script's verify."""

import asyncio
from typing import Any

from migrator.core.errors import ConnectionLost, LockLost, OutcomeUnknown, TookTooLong
from migrator.core.revision import Script
from migrator.core.run import Effect
from migrator.runtime.calling import Within, call
from migrator.runtime.failures import said

_SHOWN = 40
"""Characters of a wrong answer that are shown; a longer one may hold rows."""


class Verdict(Exception):
    """A verify that said no, and what it said of the effect."""

    def __init__(self, message: str, effect: Effect = Effect.UNKNOWN) -> None:
        super().__init__(message)
        self.effect = effect


async def check(script: Script, context: Any, within: Within | None = None) -> None:
    """Ask a script's verify: True is yes, and so is Effect.FULL, or None after a `ctx.check`.

    Raises Verdict where it says no, raises, or returns anything else; a lost connection or lock, and a time limit,
    leave as they are.
    """
    if script.verify is None:
        return
    context.checked = False
    try:
        answer = await call(script.verify, context, within)
    except Exception as error:
        known = (context.explain(error) or error).with_traceback(error.__traceback__)
        if isinstance(known, ConnectionLost | LockLost | OutcomeUnknown | TookTooLong):
            raise known from error
        raise Verdict(f"verify failed: {said(known, getattr(context.run, 'path', ''))}") from error
    if isinstance(answer, Effect):
        if answer is not Effect.FULL:
            raise Verdict(f"verify says that the effect is {answer}", answer)
    elif answer is None:
        if not context.checked:
            raise Verdict("verify returned None and called no ctx.check: it must return True or False")
    elif answer is not True:
        raise Verdict("verify returned False" if answer is False else f"verify returned {_odd(answer)}")


async def check_within(limit: float, script: Script, context: Any) -> None:
    """Ask a script's verify outside a step, as `check` does. Raises Verdict, too, where it takes over `limit` seconds
    (0 for any time), also where it blocks the event loop.
    """
    try:
        async with asyncio.timeout(limit or None) as scope:
            await check(script, context, Within.seconds(limit))
    except TookTooLong as error:
        raise Verdict(f"verify took longer than {limit:g} s. {error.hint}".strip()) from error
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise Verdict(f"verify took longer than {limit:g} s") from error


def _odd(answer: object) -> str:
    """Return what is wrong with an answer that is neither a bool nor an Effect."""
    shown = repr(answer)
    kind = type(answer).__name__
    return f"{shown if len(shown) <= _SHOWN else f'a value of type {kind}'}: it must return True or False"
