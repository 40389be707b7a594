"""Runs before they are run: who holds the database, and the row of a step."""

import random
import time
from dataclasses import dataclass
from itertools import count

from migrator.core.plan import Step
from migrator.core.protocols import Adapter, Owner, Session
from migrator.core.revision import Revision
from migrator.core.run import Kind, Run, State

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_COUNT = count(random.getrandbits(20))


@dataclass(frozen=True)
class Held:
    """A database whose lock we hold."""

    adapter: Adapter
    session: Session
    fence: int
    owner: Owner
    deploy_id: str


def new_run(step: Step, held: Held, state: State, kind: Kind = Kind.REVISION) -> Run:
    """Return the pending run of a step, ready for `Tracker.start`."""
    revision, owner = step.revision, held.owner
    return Run(
        run_id=new_id(),
        database=revision.database,
        revision=revision.id,
        title=revision.title,
        kind=kind,
        direction=step.direction,
        forced=step.forced,
        attempt=state.attempts.get(step.key, 0) + 1,
        transactional=transactional(revision, held.adapter),
        checksum=revision.checksum,
        path=revision.path,
        source=revision.source,
        deploy_id=held.deploy_id,
        owner=owner.token,
        host=owner.host,
        pid=owner.pid,
        user=owner.user,
        release=owner.release,
        fence=held.fence,
    )


def new_id() -> str:
    """Return an id that sorts by time, in Crockford's base 32: nine digits of milliseconds and four of a count.

    The count starts anywhere, so that two programs differ, and only grows, so that one program never repeats itself:
    a plan makes a thousand ids within few milliseconds.
    """
    number = (int(time.time() * 1000) << 20) | (next(_COUNT) & 0xFFFFF)
    return "".join(_DIGITS[(number >> shift) & 31] for shift in range(60, -5, -5))


def transactional(revision: Revision, adapter: Adapter) -> bool:
    """Say whether a revision runs in one transaction: its own word, else the database's default."""
    own = revision.header.transaction
    return adapter.capabilities.transaction_default if own is None else own
