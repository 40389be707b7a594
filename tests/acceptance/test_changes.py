"""What people do to files and histories after something was applied: every case is told, none is guessed."""

import re
import shlex
from pathlib import Path

import pytest

from tests.acceptance._look import documents, relations, runs, snapshot
from tests.acceptance._project import Project, Result


def hinted(result: Result, beginning: str) -> list[str]:
    """Return the arguments of the command that a message proposes."""
    found = re.search(rf"`migrator ({beginning}[^`]*)`", result.stderr)
    assert found, result.stderr
    return shlex.split(found[1])


@pytest.fixture
def edited(shop: Project) -> tuple[Project, Path]:
    """Give a project with a2 applied and edited since, and a3 pending."""
    shop.tables("main", "a1", "a2", "a3")
    shop.good("upgrade", "a2")
    path = shop.revisions("main") / "a2.py"
    path.write_text(path.read_text().replace("(id int)", "(id bigint)"))
    return shop, path


def test_a_revision_merged_late_is_pending_and_applied(shop: Project) -> None:
    """A revision of another branch that is older than what was applied is seen as pending, and runs."""
    shop.tables("main", "a1", "b2")
    shop.good("upgrade")
    shop.table("main", "a1x", "a1")
    shop.revision("main", "c3", ("b2", "a1x"), downgrade="pass")
    assert shop.states() == {"a1": "applied", "b2": "applied", "a1x": "pending", "c3": "pending"}
    assert [run["revision"] for run in shop.good("upgrade", "--json").json()["runs"]] == ["a1x", "c3"]
    shop.good("downgrade", "-1")
    assert shop.states()["a1x"] == "applied"


def test_two_heads_wait_for_a_decision(shop: Project) -> None:
    """Two heads are refused; both ways that the message proposes, to apply all or to join them, work."""
    shop.tables("main", "a1", "b2")
    shop.table("main", "b3", "a1")
    refused = shop.run("upgrade", "head")
    assert refused.exit_code == 3
    shop.good(*hinted(refused, "upgrade"))
    assert set(shop.states().values()) == {"applied"}
    shop.good(*hinted(refused, "new"))
    assert len(shop.good("heads", "--json").json()["heads"]) == 1


def test_an_edited_file_is_refused(edited: tuple[Project, Path]) -> None:
    """A file that changed after it ran is drift: 15, and nothing runs, not even what does not depend on it."""
    project, _ = edited
    before = snapshot(project.urls["main"])
    refused = project.run("upgrade")
    assert refused.exit_code == 15
    assert "changed since it was applied: main:a2 (revisions/a2.py)" in refused.stderr
    assert project.run("upgrade", "--json").error()["type"] == "Drifted"
    assert snapshot(project.urls["main"]) == before
    assert project.states() == {"a1": "applied", "a2": "drifted", "a3": "pending"}
    assert project.run("downgrade", "-1").exit_code == 15


def test_comments_and_layout_are_no_drift(shop: Project) -> None:
    """A comment, a docstring or a formatter changes nothing that an upgrade does: no drift, in either format."""
    shop.tables("main", "a1")
    shop.sql("main", "b2", "a1", upgrade="CREATE TABLE b2 (id int)", downgrade="DROP TABLE b2")
    shop.good("upgrade")
    python, text = (shop.revisions("main") / name for name in ("a1.py", "b2.sql"))
    stored = python.read_text()
    python.write_text(stored.replace("async def", "# why\n\n\nasync def").rstrip())
    text.write_text(text.read_text().replace("(id int)", "( id INT ) -- the key"))
    shop.table("main", "c3", "b2")
    assert shop.states() == {"a1": "applied", "b2": "applied", "c3": "pending"}
    assert "edited" not in shop.good("upgrade").text
    assert shop.good("show", "a1", "--stored").stdout == stored
    shop.good("downgrade", "base")


@pytest.mark.parametrize("form", ["py", "sql"])
def test_a_downgrade_is_corrected(shop: Project, form: str) -> None:
    """A failed downgrade is corrected in its file and repeated as the hint proposes; its run keeps the new text."""
    if form == "py":
        shop.revision(
            "main",
            "a1",
            upgrade='await ctx.execute("CREATE TABLE a1 (id int)")',
            downgrade='await ctx.execute("DROP TABLE a2")',
        )
    else:
        shop.sql("main", "a1", upgrade="CREATE TABLE a1 (id int)", downgrade="DROP TABLE a2")
    shop.good("upgrade")
    failed = shop.run("downgrade", "-1")
    assert failed.exit_code == 1
    assert "The downgrade was rolled back; main:a1 is still applied." in failed.stderr
    path = shop.revisions("main") / f"a1.{form}"
    path.write_text(path.read_text().replace("DROP TABLE a2", "DROP TABLE a1"))
    assert shop.states() == {"a1": "applied"}
    shop.good("upgrade")
    done = shop.good(*hinted(failed, "downgrade"))
    assert "main:a1 was applied from an older text" in done.text
    assert shop.states() == {"a1": "pending"}
    (run,) = runs(shop.urls["main"], "direction = 'downgrade' AND status = 'success'")
    assert "DROP TABLE a1" in run["source"]


def test_an_edited_file_is_restored(edited: tuple[Project, Path]) -> None:
    """One way out: `show --stored` prints the very text that ran, and with it everything is well."""
    project, path = edited
    assert "`migrator show main:a2 --stored`" in project.run("upgrade").stderr
    path.write_text(project.good("show", "a2", "--stored").stdout)
    project.good("upgrade")
    assert set(project.states().values()) == {"applied"}


def test_an_edit_is_accepted(edited: tuple[Project, Path]) -> None:
    """The other way out: the proposed stamp records the new text, runs nothing, and leaves what is pending."""
    project, path = edited
    before = relations(project.urls["main"])
    project.good(*hinted(project.run("upgrade"), "stamp"))
    assert relations(project.urls["main"]) == before
    assert project.states() == {"a1": "applied", "a2": "applied", "a3": "pending"}
    assert project.good("show", "a2", "--json").json()["stored"] == path.read_text()
    project.good("upgrade")


def test_an_edited_file_runs_again(edited: tuple[Project, Path]) -> None:
    """The third way out: `--force` runs the new text, after which it is what ran."""
    project, path = edited
    path.write_text(path.read_text().replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
    project.good("upgrade", "a2", "--force")
    project.good("upgrade")
    assert set(project.states().values()) == {"applied"}


def test_line_ends_are_no_edit(shop: Project) -> None:
    """A checkout with Windows line ends is the same revision."""
    path = shop.table("main", "a1")
    shop.good("upgrade")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert shop.states() == {"a1": "applied"}


@pytest.fixture
def ahead(shop: Project) -> Project:
    """Give a project whose database has a2 and a3, applied by release 9, and whose files end with a1."""
    shop.tables("main", "a1")
    shop.table("main", "a2", "a1")
    shop.sql("main", "a3", "a2", upgrade="CREATE TABLE t_a3 (id int);", downgrade="DROP TABLE t_a3;")
    shop.good("upgrade", env={"RELEASE": "9"})
    (shop.revisions("main") / "a2.py").unlink()
    (shop.revisions("main") / "a3.sql").unlink()
    return shop


def test_an_older_checkout_sees_what_it_does_not_have(ahead: Project) -> None:
    """Applied revisions without a file are told with who and which release; there is nothing to upgrade."""
    said = ahead.good("status").stdout
    assert re.search(r"unknown +a3 +Title of a3 +no file here; applied by .+ from release 9", said)
    assert ahead.run("status", "--exit-code").exit_code == 11
    assert "ahead of these files: main:a2, main:a3" in ahead.good("upgrade").stdout
    assert "CREATE TABLE t_a3" in ahead.good("show", "a3").stdout
    assert ahead.good("show", "a2", "--stored").stdout.startswith('"""Title of a2."""')


def test_an_older_checkout_takes_down_what_it_does_not_have(ahead: Project) -> None:
    """`downgrade` runs the text that the tracker kept, Python and SQL."""
    ahead.good("downgrade", "-1")
    assert relations(ahead.urls["main"]) == {"t_a1", "t_a2"}
    ahead.good("downgrade", "a1")
    assert relations(ahead.urls["main"]) == {"t_a1"}
    assert ahead.states() == {"a1": "applied"}
    assert [run["status"] for run in runs(ahead.urls["main"], "direction = 'upgrade'")] == [
        "success",
        "rolled_back",
        "rolled_back",
    ]


def test_work_on_a_database_that_is_ahead_is_refused(ahead: Project) -> None:
    """With something of its own to do, an older checkout is refused; the proposed command clears the way."""
    ahead.table("main", "b2", "a1")
    refused = ahead.run("upgrade")
    assert refused.exit_code == 2
    assert "from release 9" in refused.stderr
    ahead.good(*hinted(refused, "downgrade"))
    ahead.good("upgrade")
    assert ahead.states() == {"a1": "applied", "b2": "applied"}


@pytest.fixture
def linked(both: Project) -> Project:
    """Give a project whose databases need each other: main:a1 <- events:e1 <- main:a2."""
    both.table("main", "a1")
    both.collection("events", "e1", depends_on=("main:a1",))
    both.table("main", "a2", "a1", depends_on=("events:e1",))
    return both


def test_order_across_databases(linked: Project) -> None:
    """One plan honours the links between the databases, up and down."""
    up = linked.good("upgrade", "--json").json()["runs"]
    assert [run["revision"] for run in up] == ["a1", "e1", "a2"]
    down = linked.good("downgrade", "base", "--json").json()["runs"]
    assert [run["revision"] for run in down] == ["a2", "e1", "a1"]


def test_a_link_brings_in_the_other_database(linked: Project) -> None:
    """Going to a revision of one database applies what it needs in the other, and no more."""
    linked.good("upgrade", "events:e1")
    assert linked.states("main") == {"a1": "applied", "a2": "pending"}
    assert linked.states("events") == {"e1": "applied"}
    linked.good("upgrade", "-d", "main")
    assert linked.states("main") == {"a1": "applied", "a2": "applied"}


def test_what_is_needed_stays_and_the_hint_takes_both(linked: Project) -> None:
    """A revision that an applied one of the other database needs is refused; the proposed command takes all down."""
    linked.good("upgrade")
    refused = linked.run("downgrade", "events:-1")
    assert refused.exit_code == 2
    assert "main:a2 depends on events:e1" in refused.stderr
    linked.good(*hinted(refused, "downgrade"))
    assert linked.states("main") == {"a1": "applied", "a2": "pending"}
    assert linked.states("events") == {"e1": "pending"}
    assert documents(linked.urls["events"], "c_e1") == []


def test_one_step_down_in_two_databases_is_no_guess(both: Project) -> None:
    """`downgrade -1` with two candidates is refused with 3 and a command for each, which works."""
    both.table("main", "a1")
    both.collection("events", "e1")
    both.good("upgrade")
    refused = both.run("downgrade", "-1")
    assert refused.exit_code == 3
    assert "`migrator downgrade main:-1`" in refused.stderr
    both.good(*hinted(refused, "downgrade events"))
    assert both.states("events") == {"e1": "pending"}
    assert both.states("main") == {"a1": "applied"}


def test_a_script_opens_the_other_database(both: Project) -> None:
    """`ctx.database` reaches the other database from a step, and its connection is closed in the end."""
    both.collection("events", "e1")
    both.revision(
        "main",
        "a1",
        upgrade="""
            async with ctx.database("events") as events:
                count = await events.db["c_e1"].count_documents({})
            await ctx.execute(f"CREATE TABLE counted_{count} (id int)")
        """,
        depends_on=("events:e1",),
    )
    both.good("upgrade")
    assert relations(both.urls["main"]) == {"counted_1"}
