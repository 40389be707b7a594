"""The health document of real databases: what probes read from `doctor --json`."""

import signal
from typing import Any

from tests._servers import sql
from tests.acceptance._project import Project, until
from tests.acceptance.test_concurrency import SLOW, slow_step, unlocked


def doctor(project: Project, expected: int = 0) -> Any:
    """Return the document."""
    result = project.run("doctor", "--json")
    assert result.exit_code == expected, result
    return result.json()


def test_before_and_after_a_deploy(both: Project) -> None:
    """With something to apply the databases are degraded and not ready; with all of it applied they are well."""
    both.tables("main", "a1", "b2")
    both.collection("events", "e1")
    document = doctor(both)
    assert (document["status"], document["ready"]) == ("degraded", False)
    assert [document["databases"][name]["tracker"] for name in ("main", "events")] == [False, False]
    both.good("upgrade")
    document = doctor(both)
    assert (document["status"], document["ready"]) == ("ok", True)
    for name, applied in (("main", 2), ("events", 1)):
        database = document["databases"][name]
        assert (database["applied"], database["pending"], database["tracker"]) == (applied, 0, True)
        assert database["reachable"]
        assert abs(database["clock_skew"]) < 2
        assert (database["lock"], database["lock_age"]) == ("", None)


def test_while_a_deployer_is_at_work_and_after_it_died(shop: Project) -> None:
    """A deployer at work is the holder of the lock, and of some age; one that was killed left an interrupted run."""
    shop.revision("main", "a1", upgrade=SLOW)
    child = slow_step(shop)
    document = doctor(shop)
    database = document["databases"]["main"]
    assert f"pid {child.pid}" in database["lock"]
    assert database["lock_age"] >= 0
    assert (len(database["running"]), document["status"], document["ready"]) == (1, "ok", False)
    child.send(signal.SIGKILL)
    until(lambda: unlocked(shop.urls["main"]), "its lock is free")
    document = doctor(shop)
    found = document["databases"]["main"]
    assert (found["interrupted"], found["running"]) == (database["running"], [])
    assert (document["status"], document["ready"]) == ("degraded", False)


def test_what_would_stop_an_upgrade(shop: Project) -> None:
    """A run that a person must judge, and a file that changed after it ran, are failures that end with 1."""
    shop.revision("main", "a1", upgrade='await ctx.execute("CREATE TABLE t (id int)")')
    body = 'await ctx.execute("CREATE TABLE u (id int)")\nraise RuntimeError("half way")'
    shop.revision("main", "b2", "a1", upgrade=body, transaction=False)
    assert shop.run("upgrade").exit_code == 1
    database = doctor(shop, 1)["databases"]["main"]
    assert (database["status"], len(database["blocked"])) == ("failing", 1)
    shop.good("resolve", database["blocked"][0], "--mark-success", "--reason", "the table is there")
    assert doctor(shop)["status"] == "ok"
    shop.revision("main", "a1", upgrade="pass")
    database = doctor(shop, 1)["databases"]["main"]
    assert (database["status"], database["drifted"]) == ("failing", 1)
    assert any("`migrator show main:a1 --stored`" in finding["hint"] for finding in database["findings"])


def test_a_dependency_that_was_lost(both: Project) -> None:
    """What depends on a revision that its database has lost is named, with the command that applies it again."""
    both.table("main", "a1")
    both.collection("events", "e1", depends_on=["main:a1"])
    both.good("upgrade")
    sql(both.urls["main"], "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")  # as it was before the upgrade
    (found,) = [each for each in doctor(both)["databases"]["events"]["findings"] if each["subject"] == "depends_on"]
    assert (found["level"], "events:e1" in found["text"], "main:a1" in found["text"]) == ("warn", True, True)
    assert "`migrator upgrade main:a1`" in found["hint"]
    both.good("upgrade", "main:a1")
    assert all(each["subject"] != "depends_on" for each in doctor(both)["databases"]["events"]["findings"])


def test_what_belongs_to_another_environment(shop: Project) -> None:
    """A revision that is not for this environment is not waited for here: not by a probe, and not in the metrics."""
    shop.table("main", "a1")
    shop.table("main", "b2", "a1", environments=("staging",))
    shop.toml.write_text(f'{shop.toml.read_text()}\n[metrics]\ntextfile = "m.prom"\n', "utf-8")
    shop.good("upgrade")
    document = doctor(shop)
    assert (document["status"], document["ready"], document["databases"]["main"]["pending"]) == ("ok", True, 0)
    assert 'migrator_pending_revisions{database="main"} 0.0' in (shop.folder / "m.prom").read_text()
    shop.env["ENVIRONMENT"] = "staging"
    document = doctor(shop)
    assert (document["ready"], document["databases"]["main"]["pending"]) == (False, 1)


def test_one_of_two_is_out_of_reach(both: Project) -> None:
    """A database that does not answer fails; the other is looked at all the same."""
    both.table("main", "a1")
    both.good("upgrade", "main:head")
    text = both.toml.read_text("utf-8").replace(both.urls["events"], "mongodb://127.0.0.1:1/none")
    both.toml.write_text(text.replace('none"', 'none"\nconnect_timeout = "300ms"'), "utf-8")
    document = doctor(both, 1)
    assert (document["status"], document["ready"]) == ("failing", False)
    main, events = (document["databases"][name] for name in ("main", "events"))
    assert (main["status"], main["ready"], main["reachable"]) == ("ok", True, True)
    assert (events["status"], events["ready"], events["reachable"]) == ("failing", False, False)


def test_files_that_form_no_history(shop: Project) -> None:
    """Where the files are wrong there is no saying what is pending: that fails, with the files named."""
    shop.table("main", "a1")
    shop.table("main", "b2", "zz")
    document = doctor(shop, 1)
    assert (document["status"], document["ready"]) == ("failing", False)
    assert document["databases"]["main"]["reachable"]
    assert "zz" in document["databases"]["main"]["findings"][0]["text"]
