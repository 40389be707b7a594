"""`migrator verify`: asks the verify of what is applied, and changes nothing but the list of runs."""

import asyncio
import logging
import time
from collections.abc import Sequence

from migrator.core.errors import PermissionDenied
from migrator.core.outcome import Verification
from migrator.core.protocols import Owner
from migrator.core.revision import Revision
from migrator.core.run import Effect, Kind, Run, Status
from migrator.runtime import directory
from migrator.runtime.connections import Connections
from migrator.runtime.runs import new_id
from migrator.runtime.side_by_side import side_by_side
from migrator.runtime.verdict import Verdict, check_within


async def verify(
    revisions: Sequence[Revision], connections: Connections, owner: Owner, timeout: float, jobs: int = 1
) -> tuple[Verification, ...]:
    """Return one answer for each revision, in order, `jobs` of them asked at once; each is recorded as a run.

    `timeout` is in seconds, for each verify whose revision has no limit of its own; 0 means none. One that takes longer
    has failed. Raises DatabaseError where a server cannot be asked.
    """
    turn, deploy_id = asyncio.Semaphore(jobs), new_id()

    async def ask(revision: Revision) -> Verification:
        async with turn:
            return await _verify(revision, connections, timeout)

    answers = await side_by_side(ask(each) for each in revisions)
    for database in dict.fromkeys(each.database for each in revisions):
        pairs = [
            (revision, answer) for revision, answer in zip(revisions, answers, strict=True) if answer.ok is not None
        ]
        runs = [_run(*pair, owner, deploy_id) for pair in pairs if pair[0].database == database]
        await _record(database, runs, connections)
    return answers


async def _record(database: str, runs: Sequence[Run], connections: Connections) -> None:
    """Write the answers to the tracker; who may only read still gets them."""
    adapter = await connections.adapter(database)
    async with adapter.session() as session:
        try:
            for run in runs:
                await session.tracker.note(run)
        except PermissionDenied:
            logging.getLogger("migrator").warning("%s: the answers are not recorded, this user may only read", database)


def _run(revision: Revision, answer: Verification, owner: Owner, deploy_id: str) -> Run:
    run = Run(
        run_id=new_id(),
        database=revision.database,
        revision=revision.id,
        title=revision.title,
        kind=Kind.VERIFY,
        transactional=False,
        checksum=revision.checksum,
        path=revision.path,
        duration_ms=answer.duration_ms,
        deploy_id=deploy_id,
        owner=owner.token,
        host=owner.host,
        pid=owner.pid,
        user=owner.user,
        release=owner.release,
    )
    if answer.ok:
        return run.moved(Status.SUCCESS, Effect.FULL)
    return run.moved(Status.FAILED, Effect.NONE, reason="verify_failed", error=answer.message)


async def _verify(revision: Revision, connections: Connections, timeout: float) -> Verification:
    if not revision.verifiable:
        return Verification(revision.database, revision.id, revision.title, None, "has no verify")
    adapter = await connections.adapter(revision.database)
    script = directory.load(revision, adapter.capabilities)
    limit = timeout if revision.header.timeout is None else revision.header.timeout
    began = time.perf_counter()
    ok, message = True, ""
    async with adapter.context(revision.source, connections) as context:
        try:
            await check_within(limit, script, context)
        except Verdict as verdict:
            ok, message = False, str(verdict)
    spent = round((time.perf_counter() - began) * 1000, 3)
    return Verification(revision.database, revision.id, revision.title, ok, message, spent)
