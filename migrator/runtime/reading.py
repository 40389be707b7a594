"""What a tracker says of its database, read from it."""

from dataclasses import replace

from migrator.core.protocols import Tracker
from migrator.core.run import State, state_of


async def state_in(tracker: Tracker) -> State:
    """Return the state of one database, with what people want of the long changes that stopped on their way."""
    state = state_of(await tracker.runs())
    if not state.resumable:
        return state
    return replace(state, controls={key: await tracker.control(run.origin) for key, run in state.resumable.items()})
