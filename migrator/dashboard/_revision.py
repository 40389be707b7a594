"""One revision or script in full, for the API and the pages."""

from migrator.core.outcome import Shown
from migrator.dashboard._asking import Asking
from migrator.dashboard._problems import Refusal
from migrator.runtime.migrator import Migrator


async def found_revision(asking: Asking, database: str, revision: str) -> Shown:
    """Return a revision in full, by its whole id. Raises Refusal (404)."""
    target = f"{database}:{revision}"

    async def with_params(migrator: Migrator) -> Shown:
        return await migrator.show(target, [database])

    async def ask() -> Shown:
        shown = await asking.questions.show(target, [database])
        if not shown.header.is_script:
            return shown
        told: Shown = await asking.aside(with_params)  # it executes the file
        return told

    shown = await asking.shared(("show", database, revision), ask)
    if shown.line.revision != revision:
        raise Refusal(404, f"there is no revision {revision!r}", hint=f"Did you mean {shown.line.revision}?")
    return shown
