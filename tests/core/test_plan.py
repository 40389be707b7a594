"""Which steps a command takes: one named row a situation."""

from dataclasses import dataclass

import pytest

from migrator.core.history import History
from migrator.core.plan import Plan, Step
from migrator.core.revision import Direction, Revision
from migrator.core.run import Effect

from .build import failed, key, line, plan, revision, state, steps

LINE = line("aa ab cc dd")
FORK = [
    revision("a"),
    revision("b", "a"),
    revision("c", "b", labels="left"),
    revision("d", "c"),
    revision("x", "b", labels="right"),
    revision("y", "x"),
]
MERGED = [*FORK, revision("m", "d y")]
TWO = [*line("a b c"), *line("e f", "events")]
LINKED = [*line("a b c"), revision("events:e"), revision("events:f", "e", needs="app:b")]
ZIGZAG = [
    revision("a"),
    revision("b", "a", needs="events:e"),
    revision("c", "b"),
    revision("events:e", needs="app:a"),
    revision("events:f", "e", needs="app:b"),
]
CROSSED = [revision("a"), revision("c", "a", labels="left"), revision("x", "a", labels="right", needs="c")]
LATE = [revision("a"), revision("b", "a"), revision("late", "a"), revision("c", "b late")]


@dataclass(frozen=True)
class Row:
    """`migrator VERB TARGETS` over these files with these applied is these steps."""

    name: str
    files: list[Revision]
    applied: str
    command: str
    expected: str
    databases: str = ""


ROWS = [
    Row("head from nothing", LINE, "", "upgrade head", "aa ab cc dd"),
    Row("head from the middle", LINE, "aa ab", "upgrade head", "cc dd"),
    Row("head at head", LINE, "aa ab cc dd", "upgrade head", ""),
    Row("heads of a line", LINE, "aa", "upgrade heads", "ab cc dd"),
    Row("+2", LINE, "aa", "upgrade +2", "ab cc"),
    Row("+1 at head", LINE, "aa ab cc dd", "upgrade +1", ""),
    Row("+0 is nothing", LINE, "aa", "upgrade +0", ""),
    Row("an id", LINE, "", "upgrade cc", "aa ab cc"),
    Row("the beginning of an id", LINE, "", "upgrade c", "aa ab cc"),
    Row("an id that is applied", LINE, "aa ab cc", "upgrade ab", ""),
    Row("id+1", LINE, "", "upgrade ab+1", "aa ab cc"),
    Row("id-1", LINE, "", "upgrade cc-1", "aa ab"),
    Row("database:id", TWO, "", "upgrade events:e", "events:e"),
    Row("database:head", TWO, "a", "upgrade app:head", "b c"),
    Row("database:+1", TWO, "a", "upgrade app:+1", "b"),
    Row("two targets", TWO, "", "upgrade app:b events:e", "a b events:e"),
    Row("two targets, one above the other", LINE, "", "upgrade ab aa", "aa ab"),
    Row("head of every database", TWO, "a", "upgrade head", "b c events:e events:f"),
    Row("head of one database by -d", TWO, "a", "upgrade head", "b c", databases="app"),
    Row("+1 where one database has something", TWO, "a b c", "upgrade +1", "events:e"),
    Row("heads of a fork", FORK, "", "upgrade heads", "a b c d x y"),
    Row("label@head", FORK, "a b", "upgrade left@head", "c d"),
    Row("label@heads", FORK, "a", "upgrade right@heads", "b x y"),
    Row("label@+1", FORK, "a b", "upgrade right@+1", "x"),
    Row("label@+1 with work below the label", FORK, "a", "upgrade right@+1", "b"),
    Row("label@+2 with all below the label to do", FORK, "", "upgrade right@+2", "a b"),
    Row("label@+1 onto a merge", MERGED, "a b c d", "upgrade left@+1", "x"),
    Row("label@id", FORK, "a b", "upgrade right@y", "x y"),
    Row("label@head in one of two databases", [*FORK, *line("e", "events")], "a b", "upgrade left@head", "c d"),
    Row("database:label@head", FORK, "a b", "upgrade app:left@head", "c d"),
    Row("head above a merge", MERGED, "a b c", "upgrade head", "d x y m"),
    Row("a merge brings both sides", MERGED, "a b", "upgrade m", "c d x y m"),
    Row("a link brings in another database", LINKED, "", "upgrade events:head", "a b events:e events:f"),
    Row("a link that is applied already", LINKED, "a b", "upgrade events:head", "events:e events:f"),
    Row("a link beats -d", LINKED, "", "upgrade head", "a b events:e events:f", databases="events"),
    Row("links back and forth", ZIGZAG, "", "upgrade events:f", "a events:e b events:f"),
    Row("+1 brings a link", ZIGZAG, "a", "upgrade app:+1", "events:e b"),
    Row("merged late below what is applied", LATE, "a b", "upgrade head", "late c"),
    Row("merged late beside what is applied", LATE[:3], "a b", "upgrade heads", "late"),
    Row("merged late under a merge that is applied", LATE, "a b c", "upgrade head", "late"),
    Row("down to base", LINE, "aa ab cc", "downgrade base", "-cc -ab -aa"),
    Row("down to base from base", LINE, "", "downgrade base", ""),
    Row("down -1", LINE, "aa ab cc", "downgrade -1", "-cc"),
    Row("down -2", LINE, "aa ab cc", "downgrade -2", "-cc -ab"),
    Row("down -0 is nothing", LINE, "aa", "downgrade -0", ""),
    Row("down to an id, which stays", LINE, "aa ab cc dd", "downgrade ab", "-dd -cc"),
    Row("down to the top", LINE, "aa ab", "downgrade ab", ""),
    Row("down to id-1: the id goes too", LINE, "aa ab cc", "downgrade ab-1", "-cc -ab"),
    Row("down to id-1 at the base", LINE, "aa ab", "downgrade aa-1", "-ab -aa"),
    Row("down to id-2", LINE, "aa ab cc dd", "downgrade cc-2", "-dd -cc -ab"),
    Row("down to id+1", LINE, "aa ab cc dd", "downgrade ab+1", "-dd"),
    Row("down database:-1", TWO, "a b events:e", "downgrade app:-1", "-b"),
    Row("down database:base", TWO, "a b events:e", "downgrade events:base", "-events:e"),
    Row("down -1 with one database by -d", TWO, "a b events:e", "downgrade -1", "-events:e", databases="events"),
    Row("down -1 where one database has something", TWO, "events:e events:f", "downgrade -1", "-events:f"),
    Row("down to base of every database", TWO, "a events:e b", "downgrade base", "-b -events:e -a"),
    Row("down two targets", TWO, "a b events:e", "downgrade app:-1 events:-1", "-events:e -b"),
    Row("down label@base", FORK, "a b c x y d", "downgrade left@base", "-d -c"),
    Row("down label@-1", FORK, "a b c x y d", "downgrade right@-1", "-y"),
    Row("down label@id", FORK, "a b c x y d", "downgrade right@x", "-y"),
    Row("down a fork: last applied first", FORK, "a b x c y d", "downgrade b", "-d -y -c -x"),
    Row("down one branch leaves the other", FORK, "a b c x y", "downgrade c-1", "-c"),
    Row("down a merge", MERGED, "a b c d x y m", "downgrade m-1", "-m"),
    Row("down -1 at a merge", MERGED, "a b c d x y m", "downgrade -1", "-m"),
    Row("down one side of a merge takes the merge", MERGED, "a b c d x y m", "downgrade d", "-m"),
    Row("down across links", ZIGZAG, "a events:e b events:f c", "downgrade base", "-c -events:f -b -events:e -a"),
    Row("down in the order of the links, whatever ran last", LINKED, "events:e events:f a b", "downgrade base",
        "-events:f -b -a -events:e"),
    Row("label@id below the branch", FORK, "", "upgrade left@b", "a b"),
    Row("label@id on the branch", FORK, "", "upgrade left@c", "a b c"),
    Row("label@id+1 takes the branch at a fork", FORK, "", "upgrade right@b+1", "a b x"),
    Row("label@+1 from nothing is the first below the branch", FORK, "", "upgrade left@+1", "a"),
    Row("label@+3 from nothing", FORK, "", "upgrade left@+3", "a b c"),
    Row("label@+1 at the fork", FORK, "a b", "upgrade right@+1", "x"),
    Row("label@+1 with what it depends on", CROSSED, "a", "upgrade right@+1", "c x"),
    Row("down label@id below the branch leaves the other", FORK, "a b c x y", "downgrade right@b", "-y -x"),
    Row("down -1 where one depends on the other", CROSSED, "a c x", "downgrade -1", "-x"),
    Row("down -2 where one depends on the other", CROSSED, "a c x", "downgrade -2", "-x -c"),
    Row("stamp head on a database that has it all", LINE, "", "stamp head", "aa ab cc dd"),
    Row("stamp what is missing", LINE, "aa", "stamp cc", "ab cc"),
    Row("stamp what is beyond", LINE, "aa ab cc dd", "stamp ab", "-dd -cc"),
    Row("stamp base", LINE, "aa ab", "stamp base", "-ab -aa"),
    Row("stamp where it is", LINE, "aa ab", "stamp ab", ""),
    Row("stamp below a hole", LATE, "a b c", "stamp b", "-c"),
    Row("stamp a merge with a hole below", LATE, "a b c", "stamp c", "late"),
    Row("stamp two targets", LINE, "aa ab cc dd", "stamp ab cc", "-dd"),
    Row("stamp one database", TWO, "a events:e", "stamp app:head", "b c"),
    Row("stamp an id leaves the other database", TWO, "a events:e", "stamp c", "b c"),
    Row("stamp database:base", TWO, "a events:e", "stamp events:base", "-events:e"),
    Row("stamp never writes another database", LINKED, "", "stamp events:f", "events:e events:f"),
    Row("stamp a branch leaves the branch beside it", FORK, "a b c x", "stamp y", "y"),
    Row("stamp id down leaves the branch beside it", FORK, "a b c d x y", "stamp c", "-d"),
    Row("stamp label@head leaves the branch beside it", FORK, "a b x", "stamp left@head", "c d"),
    Row("stamp label@base leaves what has no label", FORK, "a b c x", "stamp left@base", "-c"),
    Row("stamp label@head leaves a database without it", [*FORK, *line("e", "events")], "a b events:e",
        "stamp left@head", "c d"),
    Row("stamp label@head never writes what it links to",
        [revision("a", labels="left", needs="events:e"), *line("e", "events")], "", "stamp left@head", "a"),
    Row("force an applied revision again", LINE, "aa ab cc", "again ab", "ab!"),
    Row("force two, parents first", LINE, "aa ab cc", "again cc ab", "ab! cc!"),
    Row("force id-1", LINE, "aa ab cc", "again cc-1", "ab!"),
    Row("force the same twice", LINE, "aa", "again aa app:aa", "aa!"),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rows(row: Row) -> None:
    """Each row's steps, in order."""
    verb, _, targets = row.command.partition(" ")
    assert row.expected == steps(plan(verb, History(row.files), state(row.applied), targets, row.databases))


def test_names() -> None:
    """No two rows have one name."""
    assert len(ROWS) == len({row.name for row in ROWS})


def test_drifted_are_stamped_again() -> None:
    """A stamp writes an edited revision below its target anew, forced, and leaves one above to go down."""
    before = state("aa ab cc", drifted="aa cc")
    assert steps(plan("stamp", History(LINE), before, "ab")) == "-cc aa!"


def test_a_run_without_checksum_is_no_drift() -> None:
    """Where the tracker has no checksum there is nothing to compare with."""
    before = state("aa")
    bare = type(before)({key("aa"): type(before.applied[key("aa")])(run_id="1", database="app", revision="aa")})
    assert steps(plan("upgrade", History(LINE), bare, "head")) == "ab cc dd"


def test_drift_elsewhere_does_not_stop_a_downgrade() -> None:
    """Only the revisions that go down must be what ran."""
    assert steps(plan("downgrade", History(LINE), state("aa ab cc", drifted="aa"), "-1")) == "-cc"


def test_drift_in_another_database_does_not_stop_an_upgrade() -> None:
    """A database that is neither in scope nor linked to has no say."""
    before = state("a events:e", drifted="events:e")
    assert steps(plan("upgrade", History(TWO), before, "head", "app")) == "b c"


def test_rerunnable_passes() -> None:
    """A revision that says it may run again does so after a failure that left something behind."""
    files = [revision("a", rerunnable=True), revision("b", "a")]
    assert steps(plan("upgrade", History(files), state(blocked=[failed("a")]), "head")) == "a b"


@pytest.mark.parametrize("effect", Effect)
def test_blocked_elsewhere(effect: Effect) -> None:
    """A failure above the target does not stop an upgrade below it."""
    assert steps(plan("upgrade", History(LINE), state(blocked=[failed("cc", effect)]), "ab")) == "aa ab"


def test_ahead_without_work() -> None:
    """A database that is ahead of the files is left in peace where there is nothing to do."""
    assert steps(plan("upgrade", History(LINE), state("aa ab cc dd zz"), "head")) == ""


def test_stored_revisions_go_down() -> None:
    """With the text from the tracker, a revision without a file goes down like any other."""
    full = History([*LINE, revision("zz", "dd", stored=True)])
    assert steps(plan("downgrade", full, state("aa ab cc dd zz"), "cc")) == "-zz -dd"


def test_plan_is_a_value() -> None:
    """A plan knows its length and its databases, in order of their first step."""
    made = plan("upgrade", History(ZIGZAG), state(), "events:f")
    assert len(made) == 4
    assert made.databases() == ("app", "events")
    assert Step(revision("a"), Direction.UPGRADE) == made.steps[0]
    assert Plan(made.steps) == made
