"""Every command on its good way, for a person and for a program."""

import re
from pathlib import Path

import pytest

from tests.acceptance._look import documents, relations, runs, snapshot
from tests.acceptance._project import Project


def test_init_writes_what_upgrade_takes(project: Project) -> None:
    """After `init` a project has the file and the folders that it printed, and they form a configuration."""
    said = project.good("init", "postgres", "mongo", "--json").json()
    assert said["databases"] == ["postgres", "mongo"]
    assert all((project.folder / folder).is_dir() for folder in said["folders"])
    assert project.good("history", "--json").json() == {"revisions": []}


def test_init_says_what_comes_next(project: Project) -> None:
    """The command that `init` prints as the next one works."""
    said = project.good("init").stdout
    assert "migrator.toml" in said
    assert 'migrator new -d postgres "create users"' in said
    assert "Wrote revisions/" in project.good("new", "-d", "postgres", "create users").stdout


def test_init_keeps_a_file_that_is_there(project: Project) -> None:
    """A second `init` is refused with 3 and leaves the file alone."""
    project.toml.write_text("# mine")
    assert project.run("init").exit_code == 3
    assert project.toml.read_text() == "# mine"


def _new(project: Project, *args: str) -> tuple[str, str]:
    """Make a revision and return its id and its text."""
    path = project.folder / project.good("new", *args, "--json").json()["path"]
    found = re.search(r"revision(?: =|:) \"?(\w{12})", path.read_text())
    assert found, path.read_text()
    return found[1], path.read_text()


def test_new_follows_the_head(both: Project) -> None:
    """`new` writes Python or SQL after the head of the named database, and heads.lock follows."""
    first, _ = _new(both, "-d", "main", "create users")
    second, text = _new(both, "-d", "main", "add email", "--sql")
    assert f"-- down_revision: {first}" in text
    third, text = _new(both, "-d", "events", "create reviews")
    assert "down_revision = None" in text
    assert "migrator.adapters.mongo" in text
    heads = both.good("heads", "--json").json()["heads"]
    assert {(head["database"], head["revision"]) for head in heads} == {("main", second), ("events", third)}
    assert second in (both.revisions("main") / "heads.lock").read_text()


def test_new_makes_a_second_head_only_on_purpose(shop: Project) -> None:
    """A revision beside the head needs --label; two heads are joined by two --head."""
    first, _ = _new(shop, "first")
    second, _ = _new(shop, "second")
    refused = shop.run("new", "beside", "--head", first)
    assert refused.exit_code == 3
    assert "--label" in refused.stderr
    branch, text = _new(shop, "beside", "--head", first, "--label", "trial")
    assert 'branch_labels = "trial"' in text
    assert shop.run("new", "third").exit_code == 3
    joined, text = _new(shop, "join", "--head", second, "--head", branch)
    assert f'down_revision = ("{second}", "{branch}")' in text
    assert [head["revision"] for head in shop.good("heads", "--json").json()["heads"]] == [joined]


def test_a_new_revision_fails_until_it_is_written(shop: Project) -> None:
    """The text that `new` writes never counts as applied by accident."""
    shop.good("new", "later")
    result = shop.run("upgrade")
    assert result.exit_code == 1
    assert "write the upgrade of" in result.stderr
    assert relations(shop.urls["main"]) == set()


@pytest.mark.parametrize(
    ("target", "applied"),
    [
        ("head", "a1 b2 c3"),
        ("heads", "a1 b2 c3"),
        ("+1", "a1"),
        ("+2", "a1 b2"),
        ("b", "a1 b2"),
        ("a1+1", "a1 b2"),
        ("main:b2", "a1 b2"),
        ("main:head", "a1 b2 c3"),
    ],
)
def test_upgrade_goes_to_the_target_and_not_past_it(shop: Project, target: str, applied: str) -> None:
    """`upgrade TARGET` applies exactly what lies below it, and says so to a program."""
    shop.tables("main", "a1", "b2", "c3")
    outcome = shop.good("upgrade", target, "--json").json()
    assert [run["revision"] for run in outcome["runs"]] == applied.split()
    assert {run["status"] for run in outcome["runs"]} == {"success"}
    assert relations(shop.urls["main"]) == {f"t_{name}" for name in applied.split()}


def test_upgrade_of_one_branch(shop: Project) -> None:
    """`label@head` applies one branch and leaves the other."""
    shop.tables("main", "a1", "b2")
    shop.table("main", "c3", "a1", branch_labels="trial")
    assert "1 applied" in shop.good("upgrade", "a1").stdout
    shop.good("upgrade", "trial@head")
    assert shop.states() == {"a1": "applied", "b2": "pending", "c3": "applied"}
    shop.good("upgrade", "heads")
    assert set(shop.states().values()) == {"applied"}


def test_upgrade_again_does_nothing(shop: Project) -> None:
    """A second `upgrade` changes nothing and ends with 0."""
    shop.tables("main", "a1", "b2")
    shop.good("upgrade", "head")
    before = snapshot(shop.urls["main"])
    assert "Nothing to do" in shop.good("upgrade", "head").stdout
    assert shop.good("upgrade", "head", "--json").json()["runs"] == []
    assert snapshot(shop.urls["main"]) == before


def test_force_is_recorded(shop: Project) -> None:
    """`--force` runs an applied revision again and the tracker says that it was forced."""
    shop.revision("main", "a1", upgrade='await ctx.execute("CREATE TABLE IF NOT EXISTS t (id int)")')
    shop.good("upgrade")
    assert "(forced)" in shop.good("upgrade", "a1", "--force").stdout
    assert [(run["forced"], run["attempt"]) for run in runs(shop.urls["main"])] == [(False, 1), (True, 2)]
    assert shop.states() == {"a1": "applied"}


@pytest.mark.parametrize(
    ("target", "left"),
    [("-1", "a1 b2"), ("-2", "a1"), ("a1", "a1"), ("b2-1", "a1"), ("base", ""), ("main:-1", "a1 b2"), ("c3-2", "a1")],
)
def test_downgrade_goes_to_the_target(shop: Project, target: str, left: str) -> None:
    """`downgrade` takes down exactly what lies above the target, in the reverse order."""
    shop.tables("main", "a1", "b2", "c3")
    shop.good("upgrade")
    outcome = shop.good("downgrade", target, "--json").json()
    gone = [name for name in ("c3", "b2", "a1") if name not in left.split()]
    assert [(run["revision"], run["direction"]) for run in outcome["runs"]] == [(name, "downgrade") for name in gone]
    assert relations(shop.urls["main"]) == {f"t_{name}" for name in left.split()}
    assert shop.good("upgrade", "--json").json()["runs"]


@pytest.mark.parametrize("kind", ["python", "sql"])
def test_up_and_down_for_a_person(shop: Project, kind: str) -> None:
    """A person reads a line for each step and a sum, whatever language the revision is in."""
    if kind == "sql":
        shop.sql("main", "a1", upgrade="CREATE TABLE t (id int);", downgrade="DROP TABLE t;", verify="SELECT true")
    else:
        shop.table("main", "a1")
    up = shop.good("upgrade").stdout
    assert re.search(r"\[1/1\] ok +upgrade +main:a1 +Title of a1 +\d+ ms", up)
    assert "1 applied in" in up
    assert re.search(r"\[1/1\] ok +downgrade", shop.good("downgrade", "-1").stdout)
    assert shop.good("upgrade", "--quiet").text == ""


def test_mongo_up_and_down(both: Project) -> None:
    """The same commands work on MongoDB, and each database keeps its own tracker."""
    both.table("main", "a1")
    both.collection("events", "e1")
    both.collection("events", "e2", "e1", transaction=True)
    both.good("upgrade")
    assert documents(both.urls["events"], "c_e2") == [{"_id": 1}]
    assert both.states("events") == {"e1": "applied", "e2": "applied"}
    assert [run["revision"] for run in runs(both.urls["main"])] == ["a1"]
    both.good("downgrade", "events:-1")
    assert documents(both.urls["events"], "c_e2") == []
    assert both.states("events") == {"e1": "applied", "e2": "pending"}


def test_status_tells_by_its_exit_code(shop: Project) -> None:
    """`status --exit-code` ends with 11 while something is pending, `status` alone always with 0."""
    shop.tables("main", "a1", "b2")
    shop.good("upgrade", "a1")
    assert shop.run("status", "--exit-code").exit_code == 11
    said = shop.good("status").stdout
    assert "1 of 2 applied, last a1 (Title of a1)" in said
    assert "next: migrator upgrade main:head" in said
    shop.good("upgrade", "main:head")
    shop.good("status", "--exit-code")


def test_history_and_heads(both: Project) -> None:
    """`history` lists parents first and touches no server; `-d` narrows it; `heads` shows the ends."""
    both.tables("main", "a1", "b2")
    both.collection("events", "e1", depends_on=("main:a1",))
    both.configure(main="postgresql://nobody@127.0.0.1:1/none", events="mongodb://127.0.0.1:1/none")
    listed = both.good("history", "--json").json()["revisions"]
    order = [each["revision"] for each in listed]
    assert order.index("a1") < order.index("e1")
    assert [each["revision"] for each in both.good("history", "-d", "events", "--json").json()["revisions"]] == ["e1"]
    assert "Title of b2  head" in both.good("history", "-d", "main").stdout
    assert "b2" in both.good("heads").stdout
    assert "a1" not in both.good("heads", "-d", "main").stdout


def test_show(shop: Project) -> None:
    """`show` prints state and text; `--stored` prints the text that ran and nothing else."""
    path = shop.table("main", "a1")
    shop.good("upgrade")
    said = shop.good("show", "a").stdout
    assert "state:   applied at 20" in said
    assert path.read_text() in said
    assert shop.good("show", "a1", "--stored").stdout.rstrip("\n") == path.read_text().rstrip("\n")
    assert shop.good("show", "a1", "--json").json()["stored"] == path.read_text()


def test_verify(shop: Project) -> None:
    """`verify` asks what is applied, ends with 13 when one says no, and may not write."""
    shop.tables("main", "a1", "b2")
    shop.revision("main", "c3", "b2")
    shop.good("upgrade")
    answers = {each["revision"]: each["ok"] for each in shop.good("verify", "--json").json()["verify"]}
    assert answers == {"a1": True, "b2": True, "c3": None}
    _alter(shop.urls["main"], "DROP TABLE t_b2")
    assert shop.run("verify").exit_code == 13
    assert shop.run("verify", "b2", "--json").json()["verify"][0]["ok"] is False
    shop.good("verify", "a1")
    assert shop.states()["b2"] == "applied"


def test_stamp(shop: Project) -> None:
    """`stamp` writes the tracker both ways and runs nothing."""
    shop.tables("main", "a1", "b2")
    shop.good("stamp", "head")
    assert shop.states() == {"a1": "applied", "b2": "applied"}
    shop.good("stamp", "a1")
    assert shop.states() == {"a1": "applied", "b2": "pending"}
    assert relations(shop.urls["main"]) == set()
    assert {run["kind"] for run in runs(shop.urls["main"])} == {"stamp"}
    shop.good("stamp", "base")
    assert set(shop.states().values()) == {"pending"}


def test_doctor(both: Project) -> None:
    """`doctor` finds nothing wrong with the embedded servers, and changes nothing."""
    both.table("main", "a1")
    before = snapshot(both.urls["main"])
    said = both.good("doctor").stdout
    assert "1 revision, head a1" in said
    found = both.good("doctor", "--json").json()["databases"]
    assert set(found) == {"main", "events"}
    assert {each["level"] for name in found for each in found[name]["findings"]} <= {"ok", "warn"}
    assert snapshot(both.urls["main"]) == before


@pytest.mark.parametrize("command", [("upgrade", "head"), ("downgrade", "-1"), ("stamp", "head")])
@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_dry_run_prints_the_plan_and_changes_nothing(shop: Project, command: tuple[str, ...], way: str) -> None:
    """`--dry-run` and DRY_RUN=1 print the plan, end with 10, and leave the database as it was."""
    shop.tables("main", "a1", "b2")
    shop.good("upgrade", "a1")
    before = snapshot(shop.urls["main"])
    args, env = ((*command, "--dry-run"), {}) if way == "option" else (command, {"DRY_RUN": "1"})
    result = shop.run(*args, env=env)
    assert result.exit_code == 10
    assert "Dry run: nothing was changed." in result.stdout
    document = shop.run(*args, "--json", env=env).json()
    assert document["dry_run"] is True
    assert document["runs"] == []
    assert [step["revision"] for step in document["plan"]] == (["a1"] if command[0] == "downgrade" else ["b2"])
    assert snapshot(shop.urls["main"]) == before


def test_a_dry_run_on_an_empty_database(shop: Project) -> None:
    """Not even the tracker is made by a dry run."""
    shop.table("main", "a1")
    assert shop.run("upgrade", "--dry-run").exit_code == 10
    assert snapshot(shop.urls["main"]) == []


def test_the_environment_alone_is_enough(shop: Project) -> None:
    """Without migrator.toml, DATABASE_URL names the one database, called postgres."""
    shop.table("main", "a1")
    Path(shop.toml).unlink()
    shop.env = {"DATABASE_URL": shop.urls["main"]}
    shop.good("upgrade")
    assert shop.states("postgres") == {"a1": "applied"}


def _alter(url: str, statement: str) -> None:
    from tests._servers import sql

    sql(url, statement)
