"""A run that was killed in its middle outside a transaction: what the person who has to judge it is shown."""

from pathlib import Path

import pytest

from tests._servers import sql
from tests.faults import corpus
from tests.faults._pg import Gate, runs, sleeps
from tests.faults.deployer import Deployer, Ended, run

SQL = """-- Four statements
-- revision: k1
-- transaction: off

-- migrator: upgrade
CREATE TABLE one (text text DEFAULT ';');
DO $$ BEGIN
    IF to_regclass('released') IS NULL THEN PERFORM pg_sleep(60); END IF;
END $$;
CREATE TABLE three (); -- not yet; later
CREATE INDEX CONCURRENTLY four ON one (text);

-- migrator: verify
SELECT to_regclass('four') IS NOT NULL;
"""


def killed(folder: Path, url: str) -> str:
    """Kill a deployer while its statement sleeps on the server, and return the id of its run after the next command."""
    with Deployer(folder, "upgrade", "head") as deployer:
        sleeps(url, deployer)
        deployer.kill()
    stopped = run(folder, "upgrade", "head", "--json")
    assert (stopped.code, stopped.error["type"]) == (14, "ResolveNeeded"), stopped
    (name,) = sql(url, "SELECT run_id FROM script_run_tracker")[0]
    assert f"migrator resolve {name}" in stopped.error["hint"]
    return str(name)


def shown(folder: Path, run_id: str, *parts: str) -> Ended:
    """Look at a run that waits for a decision: these lines must be there."""
    ended = run(folder, "resolve", run_id)
    assert ended.code == 14, ended
    lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    for part in parts:
        assert part in lines, (part, lines)
    return ended


def test_four_statements_of_sql(folder: Path, postgres_url: str) -> None:
    """Killed in the second of four: that is what is shown; taken back by hand and told so, all four run."""
    corpus.configure(folder, postgres_url)
    (folder / "revisions" / "k1.sql").write_text(SQL)
    run_id = killed(folder, postgres_url)
    shown(folder, run_id, "reached statement 2 of 4", "verify no: verify returned False", "log nothing was kept")
    sql(postgres_url, "DROP TABLE one", "CREATE TABLE released ()")
    decided = run(folder, "resolve", run_id, "--mark-rolled-back", "--reason", "dropped the table")
    assert decided.code == 0, decided
    again = run(folder, "upgrade", "head")
    assert again.code == 0, again
    assert sql(postgres_url, "SELECT progress FROM script_run_tracker ORDER BY seq DESC")[0][0] == (
        '{"of": 4, "statements": 4}'
    )
    assert sql(postgres_url, "SELECT to_regclass('three') IS NOT NULL AND to_regclass('four') IS NOT NULL")[0][0]


def test_a_python_revision(folder: Path, postgres_url: str) -> None:
    """Killed in its third statement: k is known and n is not, and the lines that it had logged by then are there."""
    corpus.configure(folder, postgres_url)
    lines = [
        "await ctx.execute('CREATE TABLE one ()')",
        "ctx.log.info('one is there')",
        "await ctx.execute('CREATE TABLE two ()')",
        "ctx.log.warning('two is there, and the long part begins')",
        "await ctx.execute('SELECT pg_sleep(60)')",
    ]
    verify = "return await ctx.value(\"SELECT to_regclass('three') IS NOT NULL\")"
    corpus.revision(folder, "k1", None, lines, verify=verify, constants={"transaction": False})
    run_id = killed(folder, postgres_url)
    shown(
        folder,
        run_id,
        "reached statement 3",
        "verify no: verify returned False",
        "log [INFO] one is there",
        "log [WARNING] two is there, and the long part begins",
    )
    sql(postgres_url, "CREATE TABLE three ()")
    shown(folder, run_id, "verify yes: all of it is in the database")
    assert run(folder, "resolve", run_id, "--mark-success", "--reason", "made the third").code == 0
    assert run(folder, "upgrade", "head").code == 0


def test_an_error_is_told_with_its_line(folder: Path, postgres_url: str) -> None:
    """The third of the four fails: the message names its line in the file, and the two before it stay."""
    corpus.configure(folder, postgres_url)
    (folder / "revisions" / "k1.sql").write_text(SQL.replace("CREATE TABLE three", "CREATE TABLE one"))
    sql(postgres_url, "CREATE TABLE released ()")
    failed = run(folder, "upgrade", "head", "--json")
    assert failed.code == 1, failed
    assert 'relation "one" already exists' in failed.error["message"]
    (name,) = sql(postgres_url, "SELECT run_id FROM script_run_tracker")[0]
    shown(folder, name, "reached statement 3 of 4")
    (folder / "revisions" / "k1.sql").write_text(
        SQL.replace("CREATE TABLE three ()", "CREATE TABLE three (id nothing)")
    )
    assert run(folder, "resolve", name, "--retry", "--reason", "mended").code == 0
    sql(postgres_url, "DROP TABLE one")
    failed = run(folder, "upgrade", "head", "--json")
    assert "revisions/k1.sql:10: " in failed.error["message"], failed


def test_a_holder_that_was_overtaken_sends_no_further_statement(
    folder: Path, tmp_path: Path, postgres_url: str
) -> None:
    """Outside a transaction too the fence is checked before each statement: not one more takes effect."""
    gate = Gate(tmp_path / "gate")
    corpus.configure(folder, postgres_url)
    lines = [*gate.code, "await ctx.execute('CREATE TABLE too_late ()')"]
    corpus.revision(folder, "k1", None, lines, constants={"transaction": False})
    with Deployer(folder, "upgrade", "head", "--json") as deployer:
        gate.reached(deployer)
        sql(postgres_url, "UPDATE script_run_lock SET fence = fence + 1")
        gate.open.touch()
        ended = deployer.wait()
    assert (ended.code, ended.error["type"]) == (12, "LockLost"), ended
    assert sql(postgres_url, "SELECT to_regclass('too_late') IS NULL")[0][0]
    assert runs(postgres_url)[0][:2] == ("k1", "pending")


@pytest.mark.parametrize("ending", ["", ";", "; -- the end", ";\n-- the; end\n"])
def test_one_statement_however_it_ends(folder: Path, postgres_url: str, ending: str) -> None:
    """One statement is one, with and without a semicolon or a remark behind it."""
    corpus.configure(folder, postgres_url)
    text = f"-- One\n-- revision: k1\n-- transaction: off\n-- migrator: upgrade\nVACUUM{ending}"
    (folder / "revisions" / "k1.sql").write_text(text)
    assert run(folder, "upgrade", "head").code == 0
    assert sql(postgres_url, "SELECT progress FROM script_run_tracker")[0][0] == '{"of": 1, "statements": 1}'
