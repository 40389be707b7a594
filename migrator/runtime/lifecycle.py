"""What a script may have around its work: a look before it, and a cleaning up after it in any case."""

import asyncio
from typing import TYPE_CHECKING

from migrator.core.errors import ValidationFailed
from migrator.core.protocols import Adapter, Context, Databases
from migrator.core.revision import Script, Validation
from migrator.core.run import Run
from migrator.runtime.calling import Within, call
from migrator.runtime.script_logger import script_logger

if TYPE_CHECKING:
    from migrator.runtime.params import Params

LIMIT = 60.0
"""Seconds that a cleanup may take."""


async def validate(script: Script, context: Context, within: Within) -> None:
    """Ask a script's validate. Raises ValidationFailed with all of its errors; warnings go to the log.

    It only looks, so that a step that ends here has touched nothing.
    """
    if script.validate is None:
        return
    try:
        found = await call(script.validate, context, within)
    finally:
        context.touched = False
    if not isinstance(found, Validation):
        return
    for warning in found.warnings:
        context.log.warning("%s", warning)
    if found.errors:
        raise ValidationFailed("validate: " + "; ".join(found.errors))


async def clean_up(script: Script, run: Run, params: "Params", adapter: Adapter, databases: Databases) -> None:
    """Run a script's cleanup, outside the step's transaction. What goes wrong in it is logged and changes nothing."""
    if script.cleanup is None:
        return
    log = script_logger(run.revision)
    try:
        async with asyncio.timeout(LIMIT), adapter.context(databases=databases) as context:
            context.run, context.params, context.logger = run, params.value, log
            await call(script.cleanup, context, Within.seconds(LIMIT))
    except Exception:
        log.exception("the cleanup of %s failed", run.revision)
