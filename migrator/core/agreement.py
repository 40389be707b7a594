"""What somebody agreed to is what runs: a plan that was shown has a mark, and any other is refused under the lock."""

from collections.abc import Sequence
from hashlib import sha256

from migrator.core.errors import PlanRefused
from migrator.core.plan import Plan
from migrator.core.refusals import UNCHANGED


def mark(plan: Plan) -> str:
    """Return what tells a plan from another: its steps in order, and the texts that they run."""
    steps = (f"{each.key} {each.direction} {each.forced} {each.revision.checksum}" for each in plan.steps)
    return sha256("\n".join(steps).encode()).hexdigest()[:32]


def agreed(plan: Plan, seen: str) -> Plan:
    """Return the plan if it is the one with the mark that was `seen`, or if nobody saw one (""). Raises PlanRefused."""
    if seen and mark(plan) != seen:
        steps = ", ".join(f"{each.direction} {each.key}" for each in plan.steps[:5]) or "nothing to do"
        raise PlanRefused(
            f"the plan is not the one that was agreed to: it is {steps} by now",
            state=UNCHANGED,
            hint="Somebody else changed the database or the files meanwhile. Look at the plan as it is now.",
        )
    return plan


def within(plan: Plan, databases: Sequence[str]) -> Plan:
    """Return the plan if it changes no other databases than these, () for any. Raises PlanRefused: cross links bring in
    others, which may not be those of whoever asks.
    """
    beyond = [name for name in plan.databases() if databases and name not in databases]
    if beyond:
        raise PlanRefused(
            f"this would change {', '.join(beyond)}, too, because of `depends_on`",
            state=UNCHANGED,
            hint="Ask somebody who may change all of these databases.",
        )
    return plan
