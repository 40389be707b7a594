"""Several deployers at once on a set of three, and whatever comes to mind befalls them: every revision exactly once."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from pymongo.errors import PyMongoError

from tests.faults.checker import judge_exit
from tests.faults.deployer import Deployer
from tests.faults.mongo_ground import AGAIN, INDEX, INDEX_IS, RULE, RULE_IS, Ground
from tests.faults.mongo_set import MongoSet, until

pytest_plugins = ["tests.faults.mongo_fixtures"]

DEPLOYERS = 3
SHORT, WHOLE = 30, 500
"""How many faults each commit, and with MIGRATOR_FAULTS=all."""

STEP_DOWN_EVERY = 6.0
"""Seconds between two elections: shorter, and the set has no primary most of the time."""

FAULTS = ("kill", "kill", "kill", "stop", "stop", "terminate", "step_down")
WORK = "await asyncio.sleep(0.08)"


def ordered(ground: Ground) -> None:
    """Write the revisions: what is left half done by a signal may run again, so that no person is needed."""
    ground.transactional("t1", before=WORK)
    ground.transactional("t2", after=WORK)
    ground.revision(
        "index", f"{INDEX}\n{WORK}".replace("{NAME}", "index"), INDEX_IS.replace("{NAME}", "index"), rerunnable=True
    )
    ground.transactional("t3", before=WORK, after=WORK)
    ground.revision("rule", f"{WORK}\n{RULE}", RULE_IS, rerunnable=True)
    ground.revision("again1", f"{WORK}\n{AGAIN}\n{WORK}", rerunnable=True)
    ground.transactional("t4", after=WORK)
    ground.batched("batches1", before=WORK)
    ground.transactional("t5", before=WORK)
    ground.batched("batches2", after=WORK)
    ground.revision("again2", f"{AGAIN}\n{WORK}", rerunnable=True)
    ground.transactional("t6", before=WORK)


class Injector:
    """What may happen to the deployers, and how often it did."""

    def __init__(self, chance: random.Random, three: MongoSet) -> None:
        self._chance = chance
        self._three = three
        self._next_step_down = 0.0
        self.counts = Counter[str]()
        self.ends = Counter[int]()

    def round(self, ground: Ground, limit: int) -> list[str]:
        """Deploy, with faults, until nobody has anything to do any more; return what is wrong."""
        team = [self._deployer(ground) for _ in range(DEPLOYERS)]
        done = 0
        wrong: list[str] = []
        end = time.monotonic() + 90
        try:
            while any(self._work_left(ground)) and time.monotonic() < end:
                at = self._chance.randrange(len(team))
                if not team[at].runs:
                    wrong += self._ended(team[at])
                    team[at].close()
                    team[at] = self._deployer(ground)
                elif done < limit and ground.lease():
                    done += self._fault(ground, team[at])
                time.sleep(self._chance.uniform(0.0, 0.12))
            for one in team:
                one.resume()
                wrong += self._ended(one)
        finally:
            for one in team:
                one.close()
        return wrong

    def _work_left(self, ground: Ground) -> list[str]:
        with suppress(PyMongoError):
            live = {"status": "success", "superseded_by": ""}
            done = {row["revision"] for row in ground.db["script_run_tracker"].find(live, {"revision": 1})}
            return [name for name in ground.names if name not in done]
        return ["nobody knows"]

    def _fault(self, ground: Ground, one: Deployer) -> int:
        kind = self._chance.choice(FAULTS)
        if kind == "step_down":
            if time.monotonic() < self._next_step_down:
                return 0
            before = self._three.step_downs
            self._three.step_down()
            self._next_step_down = time.monotonic() + STEP_DOWN_EVERY
            if self._three.step_downs == before:
                return 0
        elif kind == "terminate":
            one.terminate()
        elif kind == "kill":
            one.kill()
            self._expire(ground, one)
        else:
            self._stop(ground, one)
        self.counts[kind] += 1
        return 1

    def _stop(self, ground: Ground, one: Deployer) -> None:
        """Stop one past its lease, and let it go on when somebody else has taken over, or nobody did in a second."""
        one.stop()
        self._expire(ground, one)
        fence = ground.lease().get("fence")
        end = time.monotonic() + self._chance.uniform(0.05, 1.0)
        while time.monotonic() < end and ground.lease().get("fence") == fence:
            time.sleep(0.02)
        one.resume()

    def _expire(self, ground: Ground, one: Deployer) -> None:
        mine = {"_id": "lease", "holder.pid": one.pid}
        past = [{"$set": {"expires": {"$subtract": ["$$NOW", 1]}}}]

        def expired() -> bool:
            ground.db["script_run_lock"].update_one(mine, past)
            return True

        until(expired, "the lease can be written")

    def _deployer(self, ground: Ground) -> Deployer:
        return Deployer(ground.folder, "upgrade", "head", env=ground.project.env)

    def _ended(self, one: Deployer) -> list[str]:
        ended = one.wait(60)
        self.ends[ended.code] += 1
        if ended.code == -signal.SIGTERM:  # before its first line, or after its last, there is nobody to catch it
            return []
        return judge_exit(ended.code, killed=True) and [f"{ended.code}: {ended.stderr}"]


def test_chaos(three: MongoSet, ground_at: Callable[..., Ground], seed: int, everything: bool) -> None:
    """Killed, stopped past the lease, terminated, the primary gone: at the end all of it is there, exactly once."""
    three.healed()
    injector = Injector(random.Random(seed), three)
    wanted = int(os.environ.get("MIGRATOR_CHAOS") or (WHOLE if everything else SHORT))
    began, rounds, wrong = time.monotonic(), 0, []
    while injector.counts.total() < wanted:
        ground = ground_at(three.url(""), folder=f"round{rounds}")
        ordered(ground)
        found = injector.round(ground, wanted - injector.counts.total())
        three.primary()
        ground.expire()
        last = ground.project.run("upgrade", "head")
        found += [] if last.exit_code == 0 else [f"the last run ended with {last.exit_code}: {last.text}"]
        found += ground.check()
        wrong += [f"round {rounds}: {each}" for each in found]
        rounds += 1
        ground.close()
    took = time.monotonic() - began
    faults, ends = dict(injector.counts), dict(injector.ends)
    print(f"{rounds} rounds, {injector.counts.total()} faults {faults}, ends {ends}, {took:.0f} s, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
