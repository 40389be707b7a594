"""Random faults on PostgreSQL, with a pooler in between or without: the revisions, the faults, and the rounds."""

import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from tests._servers import new_name, sql, with_database
from tests.faults import corpus
from tests.faults._pg import HOLDER, OURS, Server, pids
from tests.faults._pgbouncer import Pooler
from tests.faults.checker import Ordered, violations
from tests.faults.deployer import Deployer, run

DEPLOYERS = 4
ROUND = 90.0
"""Seconds after which a round that is not at its end counts as stuck."""

WRONG = 5
"""How many violations end a round."""

PAUSES = (0.1, 0.2, 0.4)
"""Longest seconds between two faults, one for each round: dense faults hit the beginnings, rare ones the ends."""

RESTART_EVERY = 3.0
"""Seconds between two ends of the server or of the pooler: shorter, and nobody gets to work."""

FAULTS = ("kill", "kill", "stop", "stop", "terminate", "backend", "backend", "cancel", "cancel", "restart", "crash")
ENDS = frozenset({0, 1, 4, 12, 14, 130, -signal.SIGKILL, -signal.SIGTERM})
"""How a deployer may end here: by SIGTERM itself before its first line or after its last, where nobody catches it."""

RESTARTS = ("restart", "crash", "pooler")

_DOWN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
_SLOW = (
    "CREATE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
    "$$ BEGIN IF i % 400 = 0 THEN PERFORM pg_sleep(0.02); END IF; RETURN i; END $$"
)
"""Called for every row of an index: a build takes a quarter of a second, and can be hit in its middle."""

_PROLOGUE = (
    'await ctx.execute("CREATE TABLE evidence (revision text NOT NULL, pid int DEFAULT pg_backend_pid())")',
    "await ctx.execute(\"CREATE UNIQUE INDEX once ON evidence (revision) WHERE revision LIKE 'plain%'\")",
    'await ctx.execute("CREATE TABLE items AS SELECT i AS id, 0 AS counted FROM generate_series(1, 4000) AS i")',
    f'await ctx.execute("{_SLOW}")',
    'await ctx.execute("CREATE TABLE walked (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)")',
    'await ctx.execute("INSERT INTO walked SELECT i FROM generate_series(1, 120) AS i")',
)
_WALK = (
    "import asyncio",
    'async for batch in ctx.batches("walked", max_rows=15):',
    "    async with batch:",
    '        await ctx.execute("UPDATE walked SET n = n + 1 WHERE id BETWEEN $1 AND $2", batch.first, batch.last)',
    "        await asyncio.sleep(0.02)",
)
_PAUSE = "await asyncio.sleep(0.06)"
_SLEEP = 'await ctx.execute("SELECT pg_sleep(0.06)")'


def project(folder: Path, url: str, *, more: str = "") -> list[Ordered]:
    """Write revisions of all kinds; what is left half done may run again, so that no person is needed."""
    corpus.configure(folder, url, more=more)
    made: list[Ordered] = []

    def python(name: str, *lines: str, **constants: object) -> None:
        body = ["import asyncio", *lines, f"await ctx.execute(\"INSERT INTO evidence VALUES ('{name}')\")", _PAUSE]
        made.append(corpus.revision(folder, name, made[-1].id if made else None, body, constants=constants))

    def plain(name: str) -> None:
        constants = {"transaction": False, "rerunnable": True, "allow_pooled": True}
        once = f"\"INSERT INTO evidence VALUES ('{name}') ON CONFLICT DO NOTHING\""
        lines = ["import asyncio", _SLEEP, f"await ctx.execute({once})", _PAUSE, _SLEEP]
        verify = f"return await ctx.value(\"SELECT count(*) = 1 FROM evidence WHERE revision = '{name}'\")"
        made.append(corpus.revision(folder, name, made[-1].id, lines, verify=verify, constants=constants))

    def text(name: str, statements: str, head: str = "", verify: str = "true", index: str = "") -> None:
        lines = [f"-- Step {name}", f"-- revision: {name}", f"-- down_revision: {made[-1].id}", head]
        lines += ["-- migrator: upgrade", statements, "-- migrator: verify", f"SELECT {verify};"]
        (folder / "revisions" / f"{name}.sql").write_text("\n".join(filter(None, lines)) + "\n", "utf-8")
        made.append(Ordered(name, transactional=not head, index=index))

    def concurrently(name: str, expression: str) -> None:
        text(
            name,
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS of_{name} ON items ({expression});",
            "-- transaction: off\n-- rerunnable: yes\n-- allow_pooled: yes",
            f"EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('of_{name}') AND indisvalid)",
            f"of_{name}",
        )

    def plain_sql(name: str) -> None:
        work = "UPDATE items SET counted = counted + 1; SELECT pg_sleep(0.06);"
        text(name, f"{work}\nINSERT INTO evidence VALUES ('{name}');")

    python("python1", *_PROLOGUE)
    plain_sql("sql1")
    corpus.revision(folder, "batches1", made[-1].id, _WALK)
    made.append(Ordered("batches1", transactional=False, counted="walked"))
    concurrently("index1", "slow(id)")
    plain("plain1")
    plain_sql("sql2")
    python("python2", _PAUSE, "await ctx.execute('ALTER TABLE items ADD COLUMN more int')", _SLEEP)
    plain("plain2")
    concurrently("index2", "slow(id), counted")
    plain_sql("sql3")
    return made


@dataclass
class Ground:
    """One round's database and project. `url` is its address as an observer sees it, without a pooler."""

    url: str
    folder: Path
    ordered: Sequence[Ordered]

    def left(self) -> list[str]:
        """Return what has not been applied yet; everything, where nobody can be asked."""
        rows: list[Any] = []
        with suppress(*_DOWN):
            rows = sql(self.url, "SELECT revision FROM script_run_tracker WHERE status = 'success'")
        return [one.id for one in self.ordered if one.id not in {row[0] for row in rows}]

    def holder(self) -> int:
        """Return the process that has written itself into the lock's row last, 0 where there is none."""
        with suppress(*_DOWN):
            return int(sql(self.url, "SELECT pid FROM script_run_lock")[0][0])
        return 0

    def fence(self) -> int:
        """Return the fence."""
        with suppress(*_DOWN):
            return int(sql(self.url, "SELECT fence FROM script_run_lock")[0][0])
        return 0

    def expire(self, pid: int) -> None:
        """Let the lease of one holder run out, as fifteen seconds would."""
        past = "UPDATE script_run_lock SET expires_at = clock_timestamp() WHERE expires_at > clock_timestamp()"
        with suppress(*_DOWN):
            sql(self.url, f"{past} AND pid = {pid}")


@dataclass
class Injector:
    """What may happen to the deployers, and how often it did. `direct` gives them a `direct_url` around the pooler."""

    chance: random.Random
    server: Server
    pooler: Pooler | None = None
    direct: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    ends: Counter[int] = field(default_factory=Counter)
    rounds: int = 0
    _next_restart: float = 0.0

    def go(self, folder: Path, faults: int) -> list[str]:
        """Run rounds until so many faults have happened, print the figures, and return what is wrong."""
        began, wrong = time.monotonic(), []
        while self.counts.total() < faults:
            name = new_name()
            sql(self.server.url, f"CREATE DATABASE {name} TEMPLATE template0")
            url = with_database(self.server.url, name)
            place = folder / f"round{self.rounds}"
            (place / "tmp").mkdir(parents=True)
            more = f'direct_url = "{url}"' if self.direct else ""
            ordered = project(place, self.pooler.url(url) if self.pooler else url, more=more)
            found = self._round(Ground(url, place, ordered), faults - self.counts.total())
            wrong += [f"round {self.rounds}: {each}" for each in found]
            sql(self.server.url, f"DROP DATABASE {name} WITH (FORCE)")
            self.rounds += 1
        print(
            f"{self.rounds} rounds, {self.counts.total()} faults {dict(self.counts)}, ends {dict(self.ends)}, "
            f"{time.monotonic() - began:.0f} s, {len(wrong)} wrong"
        )
        return wrong

    def _round(self, ground: Ground, limit: int) -> list[str]:
        """Deploy, with faults, until everything is applied; then once more in peace, and look."""
        team = [self._deployer(ground) for _ in range(DEPLOYERS)]
        wrong: list[str] = []
        done, end, pause = 0, time.monotonic() + ROUND, self.chance.choice(PAUSES)
        try:
            while ground.left() and time.monotonic() < end and len(wrong) < WRONG:
                at = self.chance.randrange(len(team))
                if not team[at].runs:
                    wrong += self._ended(team[at], ground)
                    team[at] = self._deployer(ground)
                elif done < limit and self._fault(ground, team):
                    done += 1
                    wrong += violations(ground.url, ground.ordered, final=False, alone=False)
                time.sleep(self.chance.uniform(0.0, pause))
            wrong += [f"not applied after {ROUND:g} s: {ground.left()}"] if ground.left() else []
            for one in team:
                wrong += self._ended(one, ground)
        finally:
            for one in team:
                one.close()
        last = run(ground.folder, "upgrade", "head", env=self._env(ground))
        wrong += [f"the last run ended with {last.code}: {last}"] if last.code else []
        return wrong + self._left_behind(ground) + violations(ground.url, ground.ordered)

    def _fault(self, ground: Ground, team: Sequence[Deployer]) -> bool:
        """Let one of the faults happen; return whether it hit anything."""
        kinds = FAULTS if self.pooler is None else (*FAULTS, "pooler")
        kind = self.chance.choice(kinds)
        hit = self._to_all(kind) if kind in RESTARTS else self._to_session(kind, ground)
        if kind in ("kill", "stop", "terminate"):
            hit = self._to_process(kind, ground, team)
        if hit:
            self.counts[kind] += 1
        return hit

    def _to_process(self, kind: str, ground: Ground, team: Sequence[Deployer]) -> bool:
        """Hit one who is connected; the holder more often than another."""
        there = [one for one in team if one.runs and _ports(one.pid)]
        if not there:
            return False
        holder = ground.holder()
        first = [one for one in there if one.pid == holder]
        one = self.chance.choice(first if first and self.chance.random() < 0.6 else there)
        if kind == "stop":
            self._stop(one, ground)
        else:
            one.send(signal.SIGKILL if kind == "kill" else signal.SIGTERM)
        return True

    def _stop(self, one: Deployer, ground: Ground) -> None:
        """Stop one past its lock's life, and let it go on when it is overtaken, or nobody did that in a second."""
        one.stop()
        ports = ", ".join(map(str, _ports(one.pid))) or "0"
        fence = ground.fence()
        if self.pooler is None or self.direct:  # as the server's idle timeouts would
            sql(ground.url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_port IN ({ports})")
        ground.expire(one.pid)
        end = time.monotonic() + self.chance.uniform(0.05, 1.0)
        while time.monotonic() < end and ground.fence() == fence:
            time.sleep(0.02)
        one.resume()

    def _to_session(self, kind: str, ground: Ground) -> bool:
        """End or cancel what one session does; the holder's more often than another."""
        if kind not in ("backend", "cancel"):
            return False
        busy = " AND state <> 'idle'" if kind == "cancel" or self.chance.random() < 0.7 else ""
        there = pids(ground.url, f"SELECT pid FROM pg_stat_activity WHERE {OURS}{busy} ORDER BY pid")
        first = [pid for pid in pids(ground.url, HOLDER) if pid in there]
        if not there:
            return False
        pid = self.chance.choice(first if first and self.chance.random() < 0.6 else there)
        function = "pg_terminate_backend" if kind == "backend" else "pg_cancel_backend"
        return bool(sql(ground.url, f"SELECT {function}({pid})")[0][0])

    def _to_all(self, kind: str) -> bool:
        """End the server, in one of its two ways, or the pooler; and start it again."""
        if time.monotonic() < self._next_restart:
            return False
        if kind == "pooler" and self.pooler is not None:
            self.pooler.kill()
            self.pooler.start()
        else:
            self.server.stop(signal.SIGINT if kind == "restart" else signal.SIGQUIT)
            self.server.start()
        self._next_restart = time.monotonic() + RESTART_EVERY
        return True

    def _deployer(self, ground: Ground) -> Deployer:
        return Deployer(ground.folder, "upgrade", "head", env=self._env(ground))

    def _env(self, ground: Ground) -> dict[str, str]:
        return {"TMPDIR": str(ground.folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}

    def _ended(self, one: Deployer, ground: Ground) -> list[str]:
        ended = one.wait(60)
        one.close()
        ground.expire(one.pid)
        self.ends[ended.code] += 1
        known = ended.code in ENDS and "defect" not in ended.stderr
        return [] if known else [f"ended with {ended.code}: {ended.stderr}"]

    def _left_behind(self, ground: Ground) -> list[str]:
        """Return what is still there of the deployers: processes, files, and what they do through the pooler."""
        found = [f"a file is left: {path}" for path in (ground.folder / "tmp").iterdir()]
        found += [f"a file is left: {path}" for path in _strange(ground.folder)]
        found += [f"process {pid} is left" for pid in _in_folder(ground.folder)]
        if self.pooler is not None:
            busy = sql(ground.url, f"SELECT pid, state, query FROM pg_stat_activity WHERE {OURS} AND state <> 'idle'")
            found += [f"somebody is still at work: {dict(row)}" for row in busy]
            self.pooler.kill()  # its own connections are nobody's
            self.pooler.start()
        return found


def _strange(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name not in ("migrator.toml", "revisions", "logs", "tmp")]


def _in_folder(folder: Path) -> list[int]:
    """Return the processes whose working folder it is."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if path.readlink() == folder:
                found.append(int(path.parent.name))
    return found


def _ports(pid: int) -> list[int]:
    """Return the local ports of a process's open connections."""
    with suppress(OSError):
        links = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
        rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        return [int(row[1].split(":")[1], 16) for row in rows if f"socket:[{row[9]}]" in links and row[3] == "01"]
    return []
