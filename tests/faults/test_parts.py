"""The parts of the suite themselves: a proxy that does nothing, and one that does each harm."""

from pathlib import Path

import pytest

from tests._servers import sql
from tests.faults import corpus
from tests.faults.checker import Ordered, judge, judge_exit, violations
from tests.faults.deployer import run
from tests.faults.proxy import OP_MSG, Do, Proxy, at, first, says


def test_nothing_happens_through_an_idle_proxy(tmp_path: Path, postgres_url: str, proxy: Proxy) -> None:
    """A whole deployment goes through the proxy unharmed, and the checker is silent."""
    ordered = corpus.write(tmp_path / "p", proxy.url(postgres_url))
    ended = run(tmp_path / "p", "upgrade", "head")
    assert ended.code == 0, ended
    assert proxy.messages > 30
    assert proxy.log[:2] == ["ssl", "startup"]
    assert violations(postgres_url, ordered) == []


@pytest.mark.parametrize(
    ("what", "applied"), [(Do.CUT_BEFORE, False), (Do.CUT_AFTER, None), (Do.CUT_REPLY, True)], ids=str
)
def test_a_cut_is_where_the_plan_says(postgres_url: str, proxy: Proxy, what: Do, applied: bool | None) -> None:
    """Cut before a message the server has not acted; cut at the reply it has."""
    proxy.plan = first(says(b"CREATE TABLE marked"), what)
    with pytest.raises((OSError, Exception), match=r"closed|reset|lost|abort"):
        sql(proxy.url(postgres_url), "CREATE TABLE marked (id int)")
    assert proxy.wait_fired().kind in "QP"
    if applied is not None and what is not Do.CUT_REPLY:
        assert (sql(postgres_url, "SELECT to_regclass('marked')")[0][0] is not None) == applied


def test_op_msg_framing_keeps_what_is_not_whole() -> None:
    """Messages of MongoDB are told apart however the stream is chopped."""
    one = (20).to_bytes(4, "little") + bytes(8) + (2013).to_bytes(4, "little") + b"abcd"
    framing = OP_MSG()
    found = [each for byte in one + one + one[:7] for each in framing.feed(bytes([byte]))]
    assert found == [("2013", one), ("2013", one)]


def test_a_plan_that_never_fires_is_noticed(proxy: Proxy) -> None:
    """A fault that did not fire fails the test."""
    proxy.plan = at(10_000, Do.CUT_BEFORE)
    with pytest.raises(AssertionError, match="did not fire"):
        proxy.wait_fired(0.05)


_A = Ordered("a", transactional=True)
_B = Ordered("b", transactional=False)


def _row(revision: str, status: str, effect: str, fence: int = 1) -> dict[str, object]:
    return {
        "revision": revision, "direction": "upgrade", "status": status, "effect": effect, "fence": fence,
        "superseded_by": "", "reason": "", "error": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "effects", "words"),
    [
        ([_row("a", "success", "full")], {}, "without its effect"),
        ([_row("a", "success", "full")], {"a": 2}, "2 times"),
        ([_row("a", "failed", "none")], {"a": 1}, "no row says so"),
        ([_row("a", "success", "full")] * 2, {"a": 1}, "2 live successes"),
        ([_row("a", "pending", "unknown"), _row("b", "pending", "unknown")], {}, "pending at once"),
        ([_row("b", "failed", "none")], {"b": 1}, "no row says so"),
        ([_row("a", "pending", "unknown")], {}, "still pending"),
        ([_row("b", "success", "full"), _row("a", "success", "full")], {"a": 1, "b": 1}, "order of success"),
        ([_row("a", "success", "full", 2), _row("b", "success", "full", 1)], {"a": 1, "b": 1}, "old fence"),
    ],
)
def test_the_judge_sees(rows: list[dict[str, object]], effects: dict[str, int], words: str) -> None:
    """Each kind of violation is named."""
    assert any(words in each for each in judge(rows, effects, [_A, _B], final=True))


def test_the_judge_is_silent_where_all_is_well() -> None:
    """Two successes with their effects, in order, are no violation; nor is a half step that says so."""
    rows = [_row("a", "success", "full"), _row("b", "success", "full")]
    assert judge(rows, {"a": 1, "b": 1}, [_A, _B], final=True) == []
    assert judge([rows[0], _row("b", "failed", "unknown")], {"a": 1, "b": 1}, [_A, _B], final=False) == []


def test_exit_codes() -> None:
    """Only the documented ones pass; -9 only where we killed it."""
    assert judge_exit(12) == []
    assert judge_exit(-9, killed=True) == []
    assert judge_exit(-9) != []
    assert judge_exit(-11) != []
