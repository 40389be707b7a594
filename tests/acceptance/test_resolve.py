"""A run that left something behind: what a person is shown, and what each decision leads to."""

import pytest

from tests.acceptance._look import runs
from tests.acceptance._project import Project


@pytest.fixture
def stuck(shop: Project) -> Project:
    """Give a project whose second revision failed after its first statement, outside a transaction."""
    shop.tables("main", "a1")
    shop.revision(
        "main",
        "b2",
        "a1",
        upgrade='await ctx.execute("CREATE TABLE b2 (n int)"); ctx.log.info("made b2"); await ctx.value("SELECT 1/0")',
        downgrade='await ctx.execute("DROP TABLE b2")',
        verify='return "m" in await ctx.columns("b2")',
        transaction=False,
    )
    assert shop.run("upgrade").exit_code == 1
    return shop


def test_it_is_shown_first(stuck: Project, postgres_url: str) -> None:
    """Without a decision: how far it came, what it logged, what verify says now; nothing is recorded."""
    (row,) = runs(postgres_url, "revision = 'b2'")
    result = stuck.run("resolve", row["run_id"][:11])
    assert result.exit_code == 14
    for part in ("statement 2\n", "made b2", "verify   no", "--mark-rolled-back"):
        assert part in result.stdout, (part, result)
    assert len(runs(postgres_url, "revision = 'b2'")) == 1
    assert stuck.run("upgrade").exit_code == 14


def test_every_decision_needs_a_reason(stuck: Project, postgres_url: str) -> None:
    """A decision without a reason is refused, and nothing is recorded."""
    (row,) = runs(postgres_url, "revision = 'b2'")
    result = stuck.run("resolve", row["run_id"], "--retry")
    assert result.exit_code == 3
    assert "--reason" in result.stderr
    assert len(runs(postgres_url, "revision = 'b2'")) == 1


@pytest.mark.parametrize(
    ("decision", "pending", "next_code"),
    [("retry", True, 1), ("mark-success", False, 0), ("mark-rolled-back", True, 1)],
)
def test_what_each_decision_leads_to(
    stuck: Project, postgres_url: str, decision: str, pending: bool, next_code: int
) -> None:
    """Success counts as applied; the other two make the next upgrade run it again (here into the table it left)."""
    (row,) = runs(postgres_url, "revision = 'b2'")
    done = stuck.run("resolve", row["run_id"], f"--{decision}", "--reason", "looked at it")
    assert done.exit_code == 0, done
    (state,) = [
        line["state"]
        for line in stuck.good("status", "--json").json()["databases"][0]["lines"]
        if line["revision"] == "b2"
    ]
    assert state == ("pending" if pending else "applied")
    assert runs(postgres_url, "revision = 'b2' AND kind = 'resolve'")[0]["reason"] == f"{decision}: looked at it"
    assert stuck.run("upgrade").exit_code == next_code


def test_nobody_waits_for_a_decision(shop: Project) -> None:
    """A run that needs none is not found, and the message says so."""
    shop.tables("main", "a1")
    shop.good("upgrade")
    result = shop.run("resolve", "01", "--retry", "--reason", "why not")
    assert result.exit_code == 3
    assert "waits for a decision" in result.stderr
