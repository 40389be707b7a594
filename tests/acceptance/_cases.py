"""The ways in which a call goes wrong, as a table: what is wrong, what is typed, what has to be said."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests._servers import sql, with_database
from tests.acceptance._project import Project


@dataclass(frozen=True)
class Case:
    """One wrong call, in a project where a1 is applied and b2 is pending.

    `says` are parts of the message or the hint. `connects` is True where a server is asked; `tried` where a step is
    begun, so that the tracker has a row more.
    """

    name: str
    arrange: Callable[[Project], object]
    args: str
    code: int
    kind: str
    says: tuple[str, ...]
    connects: bool = False
    tried: bool = False


def nothing(project: Project) -> None:
    """Leave the project as it is."""


def url(change: Callable[[str], str]) -> Callable[[Project], None]:
    """Return what changes the address of `main`."""
    return lambda project: project.configure(main=change(project.urls["main"]))


def toml(text: str) -> Callable[[Project], object]:
    """Return what replaces migrator.toml."""
    return lambda project: project.toml.write_text(text.replace("ADDRESS", project.urls["main"]), "utf-8")


def revision(text: str) -> Callable[[Project], object]:
    """Return what adds a file to the revisions."""
    return lambda project: (project.revisions("main") / "c3.py").write_text(text, "utf-8")


def script(body: str, verify: str | None = None, **constants: Any) -> Callable[[Project], object]:
    """Return what rewrites the pending revision; its table must not stay."""
    text = f'await ctx.execute("CREATE TABLE t_left (id int)")\n{body}'
    return lambda project: project.revision("main", "b2", "a1", upgrade=text, verify=verify, **constants)


def nowhere(text: str) -> str:
    """Return an address at which nobody listens."""
    head, _, rest = text.rpartition("@")
    return f"{head}@127.0.0.1:1/{rest.partition('/')[2]}"


def without_files(project: Project) -> None:
    """Take the revisions folder away."""
    project.revisions("main").rename(project.folder / "elsewhere")


def without_a_way_down(project: Project) -> None:
    """Apply a revision that has no downgrade."""
    project.revision("main", "b2", "a1")
    project.good("upgrade")


def newer_tracker(project: Project) -> None:
    """Leave the mark of a later version."""
    sql(project.urls["main"], "UPDATE script_run_lock SET version = 99")


RAISES = 'import os\nraise RuntimeError("that is how it is " + os.environ.get("DATABASE_URL", ""))'
HEAD = 'revision = "c3"\ndown_revision = "b2"\n'

CASES = (
    Case(
        "unreachable",
        url(nowhere),
        "upgrade",
        4,
        "ConnectionFailed",
        ("could not connect to", "127.0.0.1:1", "Is the server running"),
        connects=True,
    ),
    Case(
        "wrong password",
        url(lambda text: text.replace("@", "x@")),
        "upgrade",
        5,
        "AuthenticationFailed",
        ("password authentication failed", "Check user and password"),
        connects=True,
    ),
    Case(
        "missing database",
        url(lambda text: with_database(text, "nowhere")),
        "upgrade",
        4,
        "DatabaseMissing",
        ('"nowhere" does not exist', "createdb"),
        connects=True,
    ),
    Case("unknown -d", nothing, "status -d mian", 3, "ConfigError", ("'mian'", "Did you mean main?")),
    Case("unknown id", nothing, "upgrade zz", 3, "TargetNotFound", ("'zz'", "migrator history"), connects=True),
    Case(
        "ambiguous id",
        lambda project: project.table("main", "b22", "b2"),
        "upgrade b",
        3,
        "AmbiguousTarget",
        ("'b' may mean main:b2, main:b22", "Write more of the id"),
        connects=True,
    ),
    Case("no target", nothing, "upgrade a1~2", 3, "UsageError", ("'a1~2' is no target", "3f2a+1")),
    Case(
        "two heads",
        lambda project: project.table("main", "b3", "a1"),
        "upgrade head",
        3,
        "MultipleHeads",
        ("2 heads", "b2 (Title of b2)", "migrator upgrade heads"),
        connects=True,
    ),
    Case(
        "no downgrade",
        without_a_way_down,
        "downgrade -1",
        3,
        "Irreversible",
        ("main:b2 (Title of b2) has no downgrade: revisions/b2.py", "Write its downgrade"),
        connects=True,
    ),
    Case("downgrade to nowhere", nothing, "downgrade", 3, "UsageError", ("needs a target", "migrator downgrade -1")),
    Case("malformed TOML", toml("[databases.main]\nurl = \n"), "status", 3, "ConfigError", ("line 2",)),
    Case(
        "unknown key",
        toml('[databases.main]\nurl = "ADDRESS"\nrevision = "x"'),
        "status",
        3,
        "ConfigError",
        ("databases.main.revision", "Did you mean revisions?"),
    ),
    Case(
        "wrong type", toml('[databases.main]\nurl = "ADDRESS"\npool = "x"'), "status", 3, "ConfigError", ("pool", "int")
    ),
    Case(
        "unset variable",
        toml('[databases.main]\nurl = "${NO_SUCH_URL}"'),
        "status",
        3,
        "ConfigError",
        ("databases.main.url", "NO_SUCH_URL", "Set it"),
    ),
    Case("no database", toml("[databases]"), "status", 3, "ConfigError", ("names no database", "[databases.main]")),
    Case("no address", toml('[databases.main]\nurl = "x"'), "status", 3, "ConfigError", ("databases.main.url",)),
    Case("no such kind", toml('[databases.main]\nurl = "mysql://h/d"'), "status", 3, "ConfigError", ("mysql",)),
    Case(
        "no configuration",
        lambda project: project.toml.unlink(),
        "status",
        3,
        "ConfigError",
        ("migrator.toml", "DATABASE_URL", "migrator init"),
    ),
    Case(
        "malformed revision",
        revision(HEAD + "timeout = []\nasync def upgrade(ctx): ...\n"),
        "upgrade",
        3,
        "RevisionFileError",
        ("revisions/c3.py:3",),
    ),
    Case(
        "syntax",
        revision(HEAD + "async def upgrade(ctx):\n    await (\n"),
        "upgrade",
        3,
        "RevisionFileError",
        ("revisions/c3.py:4",),
        connects=True,
    ),
    Case(
        "plain def",
        revision(HEAD + "def upgrade(ctx):\n    pass\n"),
        "upgrade",
        3,
        "RevisionFileError",
        ("revisions/c3.py:3", "async def upgrade"),
    ),
    Case(
        "missing parent",
        revision('revision = "c3"\ndown_revision = "b9"\nasync def upgrade(ctx): ...\n'),
        "upgrade",
        3,
        "ParentMissing",
        ("b9", "revisions/c3.py"),
    ),
    Case("no folder", without_files, "upgrade", 3, "ConfigError", ("main is missing: revisions", "migrator init")),
    Case(
        "newer tracker",
        newer_tracker,
        "upgrade",
        3,
        "TrackerNewer",
        ("version 99", "which knows versions up to", "pip install"),
        connects=True,
    ),
    Case(
        "script raises",
        script(RAISES),
        "upgrade",
        1,
        "RunFailed",
        ("main:b2 (Title of b2) failed in upgrade: revisions/b2.py:", "RuntimeError: that is how it is"),
        connects=True,
        tried=True,
    ),
    Case(
        "statement fails",
        script('await ctx.execute("SELECT 1/0")'),
        "upgrade",
        1,
        "RunFailed",
        ("division by zero", "revisions/b2.py:"),
        connects=True,
        tried=True,
    ),
    Case(
        "verify says no",
        script("", verify="return False"),
        "upgrade",
        13,
        "VerifyFailed",
        ("verify returned False", "revisions/b2.py"),
        connects=True,
        tried=True,
    ),
    Case(
        "timeout",
        script('await ctx.execute("SELECT pg_sleep(30)")', timeout="500ms"),
        "upgrade",
        1,
        "RunFailed",
        ("took longer than 0.5 s", "Give it more time"),
        connects=True,
        tried=True,
    ),
    Case("unknown command", nothing, "upgrad", 3, "UsageError", ("'upgrad'", "Did you mean 'upgrade'?")),
    Case("unknown option", nothing, "status --jsno", 3, "UsageError", ("--jsno", "migrator status --help")),
    Case("missing argument", nothing, "show", 3, "UsageError", ("REVISION", "migrator show --help")),
    Case("no time", nothing, "upgrade --lock-timeout 5", 3, "UsageError", ("write 5s for seconds",)),
)
"""Every case has a message with `says`, a state and a next command, and changes nothing."""
