"""Which runs are asked for: a filter that every tracker understands, and the words in which people write one."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from migrator.core.duration import seconds
from migrator.core.revision import Direction
from migrator.core.run import COLUMNS, Run, Status

LISTED = tuple(name for name in COLUMNS if name != "source")
"""The columns of a run in a list: all but the long one."""

RUNNING, INTERRUPTED = "running", "interrupted"
WORDS = (*(str(status) for status in Status), RUNNING, INTERRUPTED)
"""How a run may stand, for people: its status, and the two that a pending one is derived to be."""


@dataclass(frozen=True)
class RunFilter:
    """What the runs must be like; what is left empty may be anything.

    `run` and `script` are ids or their beginnings; `ids` are whole ids, and an empty tuple means none of them. `since`
    and `until` bound the start (the first inclusive, the second not), as ISO 8601 in UTC; see `moment`.
    """

    run: str = ""
    ids: tuple[str, ...] | None = None
    script: str = ""
    statuses: frozenset[Status] = frozenset()
    direction: Direction | None = None
    user: str = ""
    host: str = ""
    since: str = ""
    until: str = ""

    def matches(self, run: Run) -> bool:
        """Say whether a run is asked for: what a tracker's own query must agree with."""
        began = time_of(run.started_at)
        return (
            run.run_id.startswith(self.run)
            and (self.ids is None or run.run_id in self.ids)
            and run.revision.startswith(self.script)
            and (not self.statuses or run.status in self.statuses)
            and self.direction in (None, run.direction)
            and self.user in ("", run.user)
            and self.host in ("", run.host)
            and (not self.since or began >= time_of(self.since))
            and (not self.until or began < time_of(self.until))
        )


@dataclass(frozen=True)
class RunPage:
    """Some runs, newest first. `owned` are the databases whose lock somebody holds; `after` asks for the next page, ""
    where there is none.
    """

    runs: tuple[Run, ...]
    owned: frozenset[str] = frozenset()
    after: str = ""

    def standing(self, run: Run) -> str:
        """Return how a run stands, in one of WORDS."""
        return standing(run, owned=run.database in self.owned)

    def as_dict(self) -> dict[str, Any]:
        """Return the page for `--json`."""
        runs = [{**run.as_dict(), "standing": self.standing(run)} for run in self.runs]
        return {"runs": runs, "after": self.after}


def standing(run: Run, *, owned: bool) -> str:
    """Return how a run stands: a pending one is running while somebody holds the lock, and else interrupted."""
    return standing_of(run.status, owned=owned)


def standing_of(status: Status, *, owned: bool) -> str:
    """Return how runs of a status stand."""
    if status is Status.PENDING:
        return RUNNING if owned else INTERRUPTED
    return str(status)


def statuses_of(words: Iterable[str], *, owned: bool) -> frozenset[Status]:
    """Return the statuses of the runs that stand in one of these WORDS, while somebody holds the lock, or nobody."""
    pending = (str(Status.PENDING), RUNNING if owned else INTERRUPTED)
    never = INTERRUPTED if owned else RUNNING
    return frozenset(Status.PENDING if word in pending else Status(word) for word in words if word != never)


def live(run: Run) -> bool:
    """Say whether a run is still part of what the database is: its own last word on a revision.

    Such are the success of every applied revision, a failure that nothing has come after, and whatever is pending.
    Nobody may delete it.
    """
    return not run.superseded_by


def moment(text: str, now: datetime) -> str:
    """Return the time that a text means as ISO 8601 in UTC: `2026-11-20`, `2026-11-20T10:30`, or `7d` for 7 days ago.

    A time without a zone is in UTC. Raises ValueError with a sentence that can be shown to who wrote it.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            found = now - timedelta(seconds=seconds(text))
        except (ValueError, OverflowError):
            raise ValueError(
                f'"{text}" is no time; write a date (2026-11-20), a time (2026-11-20T10:30) or how long ago (7d, 12h)'
            ) from None
    try:
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except OverflowError:
        raise ValueError(f'"{text}" is beyond what a calendar can tell') from None


def time_of(text: str) -> datetime:
    """Return a time of the tracker, or of `moment`, as a value that can be compared; the beginning of time for ""."""
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)
