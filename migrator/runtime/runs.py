"""Runs before they are run: who holds the database, and the row of a step."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from migrator.core.plan import Step
from migrator.core.protocols import Adapter, Owner, Session
from migrator.core.run import Kind, Run, State

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_COUNT = count(random.getrandbits(20))


@dataclass(frozen=True)
class Held:
    """A database whose lock we hold. `throttle` is what migrator.toml says of it."""

    adapter: Adapter
    session: Session
    fence: int
    owner: Owner
    deploy_id: str
    throttle: Mapping[str, Any] = field(default_factory=dict)


def new_run(step: Step, held: Held, state: State, kind: Kind | None = None) -> Run:
    """Return the pending run of a step, ready for `Tracker.start`."""
    revision, owner, run_id = step.revision, held.owner, new_id()
    return Run(
        run_id=run_id,
        database=revision.database,
        revision=revision.id,
        title=revision.title,
        kind=kind or step.kind,
        direction=step.direction,
        forced=step.forced,
        attempt=state.attempts.get(step.key, 0) + 1,
        transactional=transactional(step, held.adapter),
        cursor=_cursor(step, state, run_id) if step.batched else None,
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


def transactional(step: Step, adapter: Adapter) -> bool:
    """Say whether a step runs in one transaction: never in batches; else the revision's word, else the database's."""
    if step.batched:
        return False
    own = step.revision.header.transaction
    return adapter.capabilities.transaction_default if own is None else own


def _cursor(step: Step, state: State, run_id: str) -> Mapping[str, Any]:
    """Return where a long change keeps its checkpoints: under the first run of those that continue one another."""
    if step.failed_of:
        return {"origin": run_id, "failed_of": step.failed_of}
    before = state.resumable.get(step.key)
    if before is None or before.direction is not step.direction or state.is_changed(before, step.revision.checksum):
        return {"origin": run_id}
    return {"origin": before.origin}
