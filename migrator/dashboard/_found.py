"""The run that a path names, where the caller may see its database."""

from typing import Annotated

from fastapi import Depends, Path
from starlette.convertors import Convertor, register_url_convertor

from migrator.core.runs import RunPage
from migrator.dashboard._asked import Ask, Who


class _RunId(Convertor[str]):
    """Lets a path through only where an id stands in it, so that `/scripts/runs/cleanup` is none of a run's."""

    regex = "[0-9A-Za-z]{13,64}"

    def convert(self, value: str) -> str:
        """Return it as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return it as it is."""
        return value


register_url_convertor("run", _RunId())


async def _found(
    run_id: Annotated[str, Path(pattern=f"^{_RunId.regex}$", description="The whole id of a run.")],
    asking: Ask,
    who: Who,
) -> RunPage:
    scope = asking.scope(who)
    return await asking.shared(("run", run_id, scope), lambda: asking.questions.past.run(run_id, scope))


Found = Annotated[RunPage, Depends(_found)]
"""A page of that one run, with its text. A route that takes it answers 404 where there is none, or not for them."""
