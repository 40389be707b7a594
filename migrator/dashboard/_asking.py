"""How the API and the pages ask: questions of many callers at once are one, and what changes something is written
down in the audit before it begins.

Whatever may run code of a revision works in a thread with an event loop and connections of its own, so that a script
that blocks the loop does not block the server. The server's own loop has only `Questions`, which cannot run such code.
Whatever instance does it, all of them show it: the tracker and the audit tell how it stands.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from migrator.config import Config
from migrator.core.errors import DatabaseError, MigratorError
from migrator.core.journal import FAILED, OK, RUNNING, Entry, Identity
from migrator.core.passwords import hashed, is_hash, matches
from migrator.core.utf8 import readable
from migrator.dashboard._jobs import Job, Work
from migrator.dashboard._plain import plain
from migrator.dashboard._problems import Refusal
from migrator.runtime.questions import Questions
from migrator.runtime.runs import new_id
from migrator.runtime.stopping import Stop

FRESH = 1.0
"""Seconds for which an answer is given again to whoever asks the same."""

ROOM = 6
"""How many questions one database is asked at once."""

AGAIN = 15.0
"""Seconds until a database that was away when the server started is opened again, to stay so."""

GRACE = 8.0
"""Seconds that changes get to end when the server stops; they are cancelled, and settled like every other run."""

RECENT = 200
"""Among how many of the newest entries those of an earlier server are looked for."""

BORN = new_id()
"""An id that is greater than those of entries that were made before this program began."""

T = TypeVar("T")

Brief = Callable[[Questions], Awaitable[Any]]
"""Changes something at once, on the server's own loop, and returns what becomes the `result` of an entry."""


@dataclass(frozen=True)
class Call:
    """What the audit is to know of a call that changes something."""

    identity: Identity
    action: str
    databases: tuple[str, ...] = ()
    subject: str = ""
    asked: Mapping[str, Any] | None = None
    key: str = ""
    address: str = ""
    body: str = ""


class Asking:
    """One for each app. Use it as `async with asking.open():` around everything else."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.stopping = asyncio.Event()
        self._questions: Questions | None = None
        self._answers: dict[Hashable, tuple[float, asyncio.Future[Any]]] = {}
        self._jobs: set[Job] = set()
        self._watched: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open the connections, and at the end stop the changes that this instance does."""
        async with Questions.open(self.config) as questions:
            self._questions = questions
            keepers = [asyncio.create_task(self._keep(name)) for name in self.config.databases]
            keepers.append(asyncio.create_task(self._settle()))
            try:
                yield
            finally:
                self.stopping.set()
                await asyncio.gather(*keepers, return_exceptions=True)
                for job in tuple(self._jobs):
                    job.cancel()
                if self._watched:
                    await asyncio.wait(self._watched, timeout=GRACE)

    async def _keep(self, database: str) -> None:
        """Keep the connections to a database open while the server runs; one that is away is tried again."""
        stop = Stop()
        while not self.stopping.is_set():
            stop.heed()
            with suppress(MigratorError):
                async with self.questions.hold(database, ROOM):
                    await self.stopping.wait()
            await self._pause(AGAIN)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the server."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()

    @property
    def questions(self) -> Questions:
        """What answers on the server's own loop. It changes nothing but the audit, tokens, and what `do` asks of it."""
        if self._questions is None:
            raise Refusal(
                503,
                "this app has not been started: the application above it does not run its lifespan",
                hint="Mounted in another app, run `app.router.lifespan_context(app)` in the lifespan of that one.",
            )
        return self._questions

    async def shared(self, question: Hashable, ask: Callable[[], Awaitable[T]], fresh: float = FRESH) -> T:
        """Return the answer to a question: one that is at most `fresh` seconds old, or one that is on its way."""
        now = monotonic()
        for old in [each for each, (until, answer) in self._answers.items() if answer.done() and now > until]:
            del self._answers[old]
        _, answer = self._answers.get(question, (0.0, None))
        if answer is None:
            answer = asyncio.ensure_future(ask())
            self._answers[question] = (now, answer)
            answer.add_done_callback(lambda done: self._stamp(question, done, fresh))
        result: T = await asyncio.shield(answer)
        return result

    def _stamp(self, question: Hashable, answer: "asyncio.Future[Any]", fresh: float) -> None:
        if answer.cancelled() or answer.exception() is not None:
            self._answers.pop(question, None)
        else:
            self._answers[question] = (monotonic() + fresh, answer)

    async def do(self, call: Call, work: Brief) -> Entry:
        """Do something short now, and return its entry, ended; or the entry of the same call before.

        Raises what the work raises, after it was written down.
        """
        return await self._ended(call, lambda: work(self.questions))

    async def finish(self, call: Call, work: Work) -> Entry:
        """Do something in a thread of its own, wait for its end, and return its entry as `do` does."""
        return await self._ended(call, lambda: self.aside(work, call.identity.name))

    async def _ended(self, call: Call, work: Callable[[], Awaitable[Any]]) -> Entry:
        entry, before = await self._begin(call)
        if before is not None:
            return before
        try:
            result = plain(await work(), self.config.mask())
        except BaseException as error:
            await self._end(entry, FAILED, _said(error), None)
            raise
        await self._end(entry, OK, "", result)
        self._answers.clear()
        return await self.questions.journal.entry(entry.entry_id)

    async def start(self, call: Call, work: Work, first: Work | None = None) -> Entry:
        """Begin something long and return its entry at once; or the entry of the same call before.

        What must be so before it begins is found out `first`: raises what that raises, after it was written down.
        """
        entry, before = await self._begin(call)
        if before is not None:
            return before
        if first is not None:
            try:
                await self.aside(first)
            except BaseException as error:
                await self._end(entry, FAILED, _said(error), None)
                raise
        job = Job(self.config, work, call.identity.name)
        self._jobs.add(job)
        watched = asyncio.create_task(self._watch(entry, job))
        self._watched.add(watched)
        watched.add_done_callback(self._watched.discard)
        return entry

    async def aside(self, work: Work, actor: str = "") -> Any:
        """Return what a question answers that reads many files, or runs the code of scripts: in a thread of its own."""
        job = Job(self.config, work, actor)
        self._jobs.add(job)
        try:
            return await job.done()
        finally:
            job.cancel()
            self._jobs.discard(job)

    async def _watch(self, entry: Entry, job: Job) -> None:
        """Write down how a change ended; again and again, where the database that keeps the audit is away."""
        word, message, told = OK, "", None
        try:
            told = await job.done()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is told where everybody looks
            word, message = FAILED, _said(error)
            told = {"error": error.as_dict()} if isinstance(error, MigratorError) else None
        self._jobs.discard(job)
        result = plain(told, self.config.mask())
        while not await self._end(entry, word, message, result) and not self.stopping.is_set():
            await self._pause(AGAIN)
        self._answers.clear()

    async def _settle(self) -> None:
        """Say of the changes that an earlier server on this machine did not live to end that they ended with it."""
        with suppress(MigratorError):
            for entry in await self.questions.journal.entries(limit=RECENT):
                if entry.word == RUNNING and _left(entry):
                    result = {"error": {"hint": "`migrator status` shows where things stand."}}
                    await self._end(entry, FAILED, "its server ended before it did", result)

    async def _begin(self, call: Call) -> tuple[Entry, Entry | None]:
        if self.config.web.read_only:
            raise Refusal(403, "this server is read-only", hint="Use the command line, or a server that is not.")
        who = call.identity
        entry = Entry(
            entry_id=new_id(),
            who=who.name,
            role=str(who.role),
            via=who.via,
            action=call.action,
            address=call.address,
            databases=call.databases,
            subject=call.subject,
            asked={**plain(call.asked or {}, self.config.mask()), **await _kept(call)},
            key=call.key,
            instance=_instance(),
        )
        before = await self.questions.journal.begin(entry)
        if before is not None and not await _is_same(before, entry, call):
            raise Refusal(
                422,
                f"this Idempotency-Key was used for another call: {before.action} {before.subject}".rstrip(),
                hint="A key is for one call with one body; for another call take a fresh one.",
            )
        return entry, before

    async def _end(self, entry: Entry, word: str, message: str, result: Mapping[str, Any] | None) -> bool:
        """Write how an entry ended; False where the database that keeps the audit does not answer."""
        try:
            await self.questions.journal.end(entry.entry_id, word, message, result)
        except DatabaseError:
            return False
        return True

    async def metrics(self, databases: Sequence[str]) -> str:
        """Return the metrics of these databases as they stand now. Raises DependencyMissing."""
        from migrator.notifiers._announcer import need

        need("metrics", "prometheus_client", "metrics")
        from migrator.notifiers.metrics import Metrics

        found = Metrics(environment=self.config.environment)
        await self.questions.measure(found, databases)
        return found.text()

    def scope(self, identity: Identity, databases: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the databases that are meant, () as all that the caller may see; never none at all.

        Raises Refusal (404) for one that there is not, or not for them: the two look the same.
        """
        known = tuple(name for name in self.config.databases if identity.sees((name,)))
        if not known:  # no names at all would mean all databases to whoever is asked
            raise Refusal(403, f"{identity.name} may see no database that is configured here")
        unknown = [name for name in databases if name not in known]
        if unknown:
            raise Refusal(404, f"there is no database {unknown[0]!r}", hint=f"Known: {', '.join(known)}")
        return tuple(databases) or known


async def _kept(call: Call) -> dict[str, str]:
    """Return what tells the body of a call with a key from another; it may hold secrets, so it is hashed like one."""
    return {"body": await asyncio.to_thread(hashed, call.body)} if call.key else {}


async def _is_same(before: Entry, entry: Entry, call: Call) -> bool:
    """Say whether a call is the one with which its key was used before."""
    if (before.action, before.databases, before.subject) != (entry.action, entry.databases, entry.subject):
        return False
    kept = str((before.asked or {}).get("body", ""))
    return not is_hash(kept) or await asyncio.to_thread(matches, call.body, kept)


def _instance() -> str:
    return f"{readable(socket.gethostname())} pid {os.getpid()}"


def _left(entry: Entry) -> bool:
    """Say whether the server that did it was on this machine and is gone; in a container the next has its number."""
    host, _, pid = entry.instance.rpartition(" pid ")
    if host != readable(socket.gethostname()) or not pid.isdigit():
        return False
    if int(pid) == os.getpid():
        return entry.entry_id < BORN
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _said(error: BaseException) -> str:
    if isinstance(error, MigratorError):
        return error.message
    if isinstance(error, asyncio.CancelledError):
        return "stopped with the server"
    return f"{type(error).__name__}: {error}"
