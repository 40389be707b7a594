"""`migrator verify`: asks the verify of applied revisions, and changes nothing."""

import time
from collections.abc import Sequence

from migrator.core.outcome import Verification
from migrator.core.revision import Revision
from migrator.runtime import directory
from migrator.runtime.connections import Connections
from migrator.runtime.verdict import Verdict, check


async def verify(revisions: Sequence[Revision], connections: Connections) -> tuple[Verification, ...]:
    """Return one answer for each revision, in order. Raises DatabaseError where a server cannot be asked."""
    return tuple([await _verify(revision, connections) for revision in revisions])


async def _verify(revision: Revision, connections: Connections) -> Verification:
    if not revision.verifiable:
        return Verification(revision.database, revision.id, revision.title, None, "has no verify")
    adapter = await connections.adapter(revision.database)
    script = directory.load(revision, adapter.capabilities)
    began = time.perf_counter()
    ok, message = True, ""
    async with adapter.context(revision.source, connections) as context:
        try:
            await check(script, context)
        except Verdict as verdict:
            ok, message = False, str(verdict)
    spent = round((time.perf_counter() - began) * 1000, 3)
    return Verification(revision.database, revision.id, revision.title, ok, message, spent)
