"""One empty database, with what the suite must do without the adapter: look, set, take away."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from migrator.core.protocols import Adapter, Databases, Owner, Session
from migrator.core.revision import Direction
from migrator.core.run import Effect, Run, Status
from migrator.core.url import Url

LIMIT = 20.0
"""Seconds that a step of a test may take; none comes near."""

Row = tuple[str, str, str, str]
"""run_id, status, effect, superseded_by."""


class NoDatabases(Databases):
    """For scripts that open no other database."""

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[Any]:
        yield pytest.fail(f"nobody asked for {name}")


class Place(ABC):
    """An empty database. What is here opens connections of its own and closes them again."""

    module: Any

    def __init__(self, url: str) -> None:
        self.url = url
        self.made: list[Adapter] = []

    def adapter(self, url: str = "", **options: Any) -> Adapter:
        """Return an adapter, which the test must leave closed."""
        made: Adapter = self.module.adapter("main", Url.parse(url or self.url, "the test"), **options)
        self.made.append(made)
        return made

    def owner(self, user: str = "ann") -> Owner:
        """Return somebody who wants the lock."""
        return Owner(token=uuid4().hex, host="pod-1", pid=7, user=user, release="1.2")

    def run(self, fence: int = 1, **changes: Any) -> Run:
        """Return a pending run of revision aa11."""
        run = Run(run_id=uuid4().hex, database="main", revision="aa11", title="add", path="aa11.py", fence=fence)
        return replace(run, **changes)

    @staticmethod
    def done(run: Run, **changes: Any) -> Run:
        """Return the run as a success."""
        return run.moved(Status.SUCCESS, Effect.FULL, **changes)

    @staticmethod
    def failed(run: Run, effect: Effect = Effect.NONE, **changes: Any) -> Run:
        """Return the run as a failure."""
        return run.moved(Status.FAILED, effect, **changes)

    def step(self, session: Session, run: Run, timeout: float = LIMIT) -> AbstractAsyncContextManager[Any]:
        """Open a step."""
        return session.step(run, timeout=timeout, databases=NoDatabases())

    async def applied(self, session: Session, run: Run) -> Run:
        """Start and finish a run with success."""
        await session.tracker.start(run)
        await session.tracker.finish(done := self.done(run))
        return done

    async def taken_down(self, session: Session, run: Run) -> Run:
        """Run the downgrade of a revision."""
        return await self.applied(
            session, self.run(revision=run.revision, source=run.source, direction=Direction.DOWNGRADE)
        )

    @abstractmethod
    def create(self) -> None:
        """Make what `write` needs."""

    @abstractmethod
    async def write(self, ctx: Any, value: str) -> None:
        """Write a value, as a script does."""

    @abstractmethod
    async def read(self, ctx: Any) -> list[str]:
        """Read the values, as a script does."""

    @abstractmethod
    def values(self) -> list[str]:
        """Return the committed values, from outside."""

    @abstractmethod
    def rows(self) -> list[Row]:
        """Return all committed rows of the tracker in order, from outside."""

    @abstractmethod
    async def sleep(self, ctx: Any) -> None:
        """Let the server be busy for a minute."""

    def busy(self) -> bool:
        """Say whether the server has begun to sleep."""
        return True

    @abstractmethod
    def set_version(self, version: int) -> None:
        """Write another version into the tracker."""

    @abstractmethod
    def lapse(self) -> None:
        """Take the lock from whoever holds it, who does not notice; it is free then."""

    def connections(self) -> int:
        """Return how many connections of ours the server knows."""
        return 0

    def keep(self, origin: str) -> int:
        """Leave what a long change keeps beside its runs, and return how many rows that is."""
        del origin
        return 0

    def kept(self, origin: str) -> int:
        """Return how many rows are kept of a long change."""
        del origin
        return 0
