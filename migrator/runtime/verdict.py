"""Asking a script's verify."""

from contextvars import Context
from typing import Any

from migrator.core.errors import ConnectionLost, LockLost, OutcomeUnknown
from migrator.core.revision import Script
from migrator.core.run import Effect
from migrator.runtime.calling import call
from migrator.runtime.failures import said


class Verdict(Exception):
    """A verify that said no, and what it said of the effect."""

    def __init__(self, message: str, effect: Effect = Effect.UNKNOWN) -> None:
        super().__init__(message)
        self.effect = effect


async def check(script: Script, context: Any, within: Context | None = None) -> None:
    """Ask a script's verify. Raises Verdict where it says no or raises; a lost connection leaves as it is."""
    if script.verify is None:
        return
    try:
        answer = await call(script.verify, context, within)
    except Exception as error:
        known = (context.explain(error) or error).with_traceback(error.__traceback__)
        if isinstance(known, ConnectionLost | LockLost | OutcomeUnknown):
            raise known from error
        raise Verdict(f"verify failed: {said(known, getattr(context.run, 'path', ''))}") from error
    if answer is False:
        raise Verdict("verify returned False")
    if isinstance(answer, Effect) and answer is not Effect.FULL:
        raise Verdict(f"verify says that the effect is {answer}", answer)
