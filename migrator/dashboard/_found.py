"""The run that a path names, where the caller may see its database."""

from typing import Annotated

from fastapi import Depends, Path

from migrator.core.runs import RunPage
from migrator.dashboard._asked import Ask, Who


async def _found(
    run_id: Annotated[str, Path(pattern="^[0-9A-Za-z]{13,64}$", description="The whole id of a run.")],
    asking: Ask,
    who: Who,
) -> RunPage:
    return await asking.migrator.past.run(run_id, asking.scope(who))


Found = Annotated[RunPage, Depends(_found)]
"""A page of that one run, with its text. A route that takes it answers 404 where there is none, or not for them."""
