"""What callers may ask to be changed. The API and the pages both come through here.

Each action says which role it needs, keeps to the caller's databases, asks for the environment's name where it is
protected and the action takes something away, and writes its entry in the audit before it begins. Long ones return
at once: their entry tells how they end, and their runs how they are getting on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrator.core.errors import UsageError
from migrator.core.journal import Entry, Identity, Role
from migrator.core.outcome import Decision, Outcome
from migrator.core.revision import Direction
from migrator.core.run import Run
from migrator.dashboard._asking import Asking, Brief, Call
from migrator.dashboard._problems import Refusal, lesser
from migrator.runtime.migrator import Migrator
from migrator.runtime.questions import Questions

UNCHANGED = "Nothing was changed."


@dataclass(frozen=True)
class Caller:
    """Who asks for a change: `address` is where from, `key` their Idempotency-Key, `confirm` what they typed,
    `body` all that they sent.
    """

    identity: Identity
    address: str = ""
    key: str = ""
    confirm: str = ""
    body: str = ""


class Actions:
    """The changes that one caller asks for. Raises Refusal (403, 404, 409), and what the Migrator raises."""

    def __init__(self, asking: Asking, caller: Caller) -> None:
        self._asking = asking
        self._caller = caller

    async def plan(self, direction: Direction, targets: Sequence[str] = (), databases: Sequence[str] = ()) -> Outcome:
        """Return the steps that would be taken. One batch of each long change is tried, and rolled back."""
        scope, mine = self._scope(Role.OPERATOR, databases), self._mine()
        wanted = tuple(targets) or ("head",)
        if direction is Direction.DOWNGRADE:
            _need_target(targets)

        async def work(migrator: Migrator) -> Any:
            ask = migrator.upgrade if direction is Direction.UPGRADE else migrator.downgrade
            return await ask(*wanted, databases=scope, dry_run=True, within=mine)

        found: Outcome = await self._asking.aside(work)
        return found

    async def upgrade(self, targets: Sequence[str] = (), databases: Sequence[str] = (), agreed: str = "") -> Entry:
        """Begin to apply revisions up to the targets, by default `head`; see Migrator.upgrade for `agreed`."""
        scope = self._scope(Role.OPERATOR, databases)
        wanted = tuple(targets) or ("head",)

        async def work(migrator: Migrator) -> Any:
            return await migrator.upgrade(*wanted, databases=scope, agreed=agreed, within=self._mine())

        async def compare(migrator: Migrator) -> Any:
            return await migrator.upgrade(*wanted, databases=scope, agreed=agreed, within=self._mine(), dry_run=True)

        call = self._call("upgrade", scope, " ".join(wanted))
        return await self._asking.start(call, work, compare if agreed else None)

    async def downgrade(self, targets: Sequence[str], databases: Sequence[str] = (), agreed: str = "") -> Entry:
        """Begin to take revisions down to the targets; see Migrator.upgrade for `agreed`."""
        _need_target(targets)
        scope = self._scope(Role.OPERATOR, databases)
        self._confirmed("downgrade")

        async def work(migrator: Migrator) -> Any:
            return await migrator.downgrade(*targets, databases=scope, agreed=agreed, within=self._mine())

        async def compare(migrator: Migrator) -> Any:
            return await migrator.downgrade(*targets, databases=scope, agreed=agreed, within=self._mine(), dry_run=True)

        call = self._call("downgrade", scope, " ".join(targets))
        return await self._asking.start(call, work, compare if agreed else None)

    async def verify(
        self, targets: Sequence[str] = (), databases: Sequence[str] = (), tags: Sequence[str] = ()
    ) -> Entry:
        """Begin to ask the verify of what is applied."""
        scope = self._scope(Role.OPERATOR, databases)

        async def work(migrator: Migrator) -> Any:
            return {"verified": await migrator.verify(*targets, databases=scope, tags=tags)}

        return await self._asking.start(self._call("verify", scope, " ".join([*targets, *tags])), work)

    async def run(
        self,
        names: Sequence[str],
        *,
        tags: Sequence[str] = (),
        params: Mapping[str, Any] | None = None,
        databases: Sequence[str] = (),
        force: bool = False,
    ) -> Entry:
        """Begin to run scripts. The values of parameters are not written down: they may be secrets."""
        scope = self._scope(Role.ADMIN if force else Role.OPERATOR, databases)
        if force:
            self._confirmed("run with force")

        async def work(migrator: Migrator) -> Any:
            return await migrator.run(*names, tags=tags, params=params, databases=scope, force=force)

        asked = {"params": sorted(params or {}), "force": force}
        return await self._asking.start(self._call("run", scope, " ".join([*names, *tags]), asked), work)

    async def retry_failed(self, run_id: str) -> Entry:
        """Begin to take the rows that a long change passed over once more."""
        run = await self._run(Role.OPERATOR, run_id)

        async def work(migrator: Migrator) -> Any:
            return await migrator.retry_failed(run.run_id, [run.database])

        return await self._asking.start(self._call("retry-failed", (run.database,), run.run_id), work)

    async def cleanup(self, days: float | None = None, databases: Sequence[str] = ()) -> Entry:
        """Begin to delete the runs and logs that the retention does not keep."""
        scope = self._scope(Role.ADMIN, databases)
        self._confirmed("cleanup")

        async def work(migrator: Migrator) -> Any:
            everywhere = set(scope) == set(self._asking.config.databases)
            return await migrator.past.cleanup(days, () if everywhere else scope, by=self._name)

        return await self._asking.start(self._call("cleanup", scope, "", {"days": days}), work)

    async def pause(self, run_id: str, reason: str = "") -> Entry:
        """Let a long change stand still after the batch it is at."""
        run = await self._run(Role.OPERATOR, run_id)
        return await self._ask_of("pause", run, reason, lambda each: each.controls.pause(run_id, reason, by=self._name))

    async def resume(self, run_id: str, reason: str = "") -> Entry:
        """Let a long change go on that was paused or cancelled."""
        run = await self._run(Role.OPERATOR, run_id)
        return await self._ask_of(
            "resume", run, reason, lambda each: each.controls.resume(run_id, reason, by=self._name)
        )

    async def cancel(self, run_id: str, reason: str) -> Entry:
        """End a long change after the batch it is at."""
        run = await self._run(Role.OPERATOR, run_id)
        return await self._ask_of(
            "cancel", run, reason, lambda each: each.controls.cancel(run_id, reason, by=self._name)
        )

    async def tune(self, run_id: str, settings: Sequence[str]) -> Entry:
        """Change settings of a long change, each written as `name=value`; see `core.tuning`."""
        from migrator.core.tuning import settings_of

        wanted = settings_of(settings)
        run = await self._run(Role.OPERATOR, run_id)
        ask = " ".join(settings)
        return await self._ask_of("tune", run, ask, lambda each: each.controls.tune(wanted, run_id, by=self._name))

    async def resolve(self, run_id: str, decision: str, reason: str) -> Entry:
        """Record what a person decided about a run that left something behind."""
        if decision not in tuple(Decision):
            known = ", ".join(Decision)
            raise UsageError(f"{decision!r} is no decision", state=UNCHANGED, hint=f"Decide with one of {known}.")
        run = await self._run(Role.ADMIN, run_id)
        self._confirmed("resolve")

        async def work(migrator: Migrator) -> Any:
            return await migrator.resolve(run.run_id, Decision(decision), reason)

        call = self._call("resolve", (run.database,), run.run_id, {"said": f"{decision}: {reason}"})
        return await self._asking.finish(call, work)  # it runs the revision's verify

    async def delete_run(self, run_id: str) -> Entry:
        """Delete a run with its log, unless it is what the tracker knows of its revision now."""
        run = await self._run(Role.ADMIN, run_id)
        self._confirmed("delete")
        self._asking.questions.past.refuse_live([run])
        return await self._ask_of("delete", run, "", lambda each: _deleted(each, run))

    async def unlock(self, database: str, reason: str) -> Entry:
        """End whoever holds the lock of a database."""
        if not reason:
            raise UsageError("unlock needs a reason, which is kept", state=UNCHANGED)
        scope = self._scope(Role.ADMIN, [database])
        self._confirmed("unlock")
        call = self._call("unlock", scope, database, {"reason": reason})

        async def work(questions: Questions) -> Any:
            return {"holders": await questions.unlock(reason, scope, by=self._name)}

        return await self._asking.do(call, work)

    async def make_token(
        self, name: str, role: Role, databases: Sequence[str] = (), days: float = 0
    ) -> tuple[Entry, str]:
        """Make a token and return its entry and its text, which nobody can find out again; "" for a repeated call."""
        self._of_everything()
        text = ""

        async def work(questions: Questions) -> Any:
            nonlocal text
            token, text = await questions.journal.make_token(
                name, role, databases, days=days, by=self._caller.identity.name
            )
            return {"token_id": token.token_id, "name": name}

        asked = {"role": role, "databases": databases, "days": days}
        return await self._asking.do(self._call("make token", (), name, asked), work), text

    async def revoke_token(self, name: str) -> Entry:
        """End a token, by its name or id."""
        self._of_everything()

        async def work(questions: Questions) -> Any:
            return {"token_id": (await questions.journal.revoke(name)).token_id}

        return await self._asking.do(self._call("revoke token", (), name), work)

    async def _ask_of(self, action: str, run: Run, said: str, work: Brief) -> Entry:
        call = self._call(action, (run.database,), run.run_id, {"said": said} if said else {})
        return await self._asking.do(call, work)

    @property
    def _name(self) -> str:
        return self._caller.identity.name

    async def _run(self, role: Role, run_id: str) -> Run:
        """Return the run that is meant, where the caller may see its database."""
        self._has(role)
        who = self._caller.identity
        (run,) = (await self._asking.questions.past.run(run_id, self._asking.scope(who))).runs
        return run

    def _scope(self, role: Role, databases: Sequence[str]) -> tuple[str, ...]:
        """Return the databases that are meant; where none are named, all that the caller may see."""
        self._has(role)
        return self._asking.scope(self._caller.identity, databases)

    def _mine(self) -> tuple[str, ...]:
        """Return the databases that the caller may change, () for all: what a plan must stay within."""
        who = self._caller.identity
        return () if who.sees(()) else self._asking.scope(who)

    def _has(self, role: Role) -> None:
        who = self._caller.identity
        if not who.role.covers(role):
            raise lesser(who, role)

    def _of_everything(self) -> None:
        """Refuse an admin of some databases: with a token of all of them they could do everything."""
        self._has(Role.ADMIN)
        if not self._caller.identity.sees(()):
            raise Refusal(403, f"{self._caller.identity.name} is no admin of all databases", hint="Ask one who is.")

    def _confirmed(self, what: str) -> None:
        config = self._asking.config
        if config.protected and self._caller.confirm != config.environment:
            raise Refusal(
                409,
                f"{config.environment} is protected, and {what} takes something away",
                hint=f"Type {config.environment!r} as the confirmation (`confirm`).",
            )

    def _call(
        self, action: str, databases: Sequence[str], subject: str, asked: Mapping[str, Any] | None = None
    ) -> Call:
        caller = self._caller
        return Call(caller.identity, action, tuple(databases), subject, asked, caller.key, caller.address, caller.body)


def _need_target(targets: Sequence[str]) -> None:
    if not targets:
        raise UsageError("downgrade needs a target", state=UNCHANGED, hint="For example -1, or a revision's id.")


async def _deleted(questions: Questions, run: Run) -> Any:
    return {"deleted": await questions.past.delete([run])}
