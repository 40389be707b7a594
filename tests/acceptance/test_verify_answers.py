"""What a verify may answer: True, False, an Effect, or nothing after a check; anything else fails the step."""

import pytest

from migrator import BlockingMigrator
from migrator.config import load
from migrator.core.errors import VerifyFailed
from tests.acceptance._look import relations
from tests.acceptance._project import Project

WRONG = {
    "pass": "verify returned None and called no ctx.check",
    "ctx.value('SELECT 1').__await__\nreturn True": "Context.value(...) was never awaited",
    "return 0": "verify returned 0: it must return True or False",
    "return 1": "verify returned 1",
    "return ''": "verify returned ''",
    "return []": "verify returned []",
    "return 'missing rows'": "verify returned 'missing rows'",
    "return ['x' * 9] * 99": "verify returned a value of type list",
    "return ctx.columns('t')": "verify returned a coroutine that was never awaited",
    "ctx.check(ctx.columns('t'), 'there')": "ctx.check was given coroutine and no answer",
    "ctx.check([], 'no rows')": "no rows",
    "return False": "verify returned False",
    "from migrator.core.run import Effect; return Effect.PARTIAL": "the effect is partial",
    "yield True": "verify failed: ",
}
RIGHT = (
    "return True",
    "ctx.check(await ctx.columns('t') == ['id'], 'the column')",
    "ctx.check(1, 'one')\nreturn None",
    "from migrator.core.run import Effect; return Effect.FULL",
)


def test_wrong_answers(shop: Project) -> None:
    """Each wrong answer fails the upgrade with 13 and is named; nothing of the step is left."""
    for body, words in WRONG.items():
        shop.revision("main", "a1", upgrade='await ctx.execute("CREATE TABLE t (id int)")', verify=body)
        with BlockingMigrator(load(str(shop.toml))) as migrator, pytest.raises(VerifyFailed) as failed:
            migrator.upgrade("head")
        assert words in failed.value.message
        assert relations(shop.urls["main"]) == set()


def test_right_answers(both: Project) -> None:
    """Each right answer applies the revision, and `verify` by itself agrees; on MongoDB the rule is the same."""
    parent = None
    both.revision("main", "a0", upgrade='await ctx.execute("CREATE TABLE t (id int)")', verify="return True")
    for number, body in enumerate(RIGHT, 1):
        parent = f"a{number}"
        both.revision("main", parent, f"a{number - 1}", upgrade="pass", verify=body)
    both.revision("events", "e1", upgrade="pass", verify="return await ctx.db.things.count_documents({})")
    with BlockingMigrator(load(str(both.toml))) as migrator:
        assert len(migrator.upgrade("main:head").runs) == 5
        assert [each.ok for each in migrator.verify()] == [True] * 5
        with pytest.raises(VerifyFailed, match="verify returned 0"):
            migrator.upgrade("events:head")


SLOW = {
    "postgres": "return await ctx.value('SELECT true FROM pg_sleep(60)')",
    "task": "import asyncio; await asyncio.sleep(60)\nreturn True",
    "blocking": "import time; time.sleep(60)\nreturn True",
}


@pytest.mark.parametrize("slow", SLOW)
def test_a_verify_that_takes_too_long(shop: Project, slow: str) -> None:
    """`migrator verify` ends it at the step's limit and reports it as failed; the other answers are given, too."""
    shop.revision("main", "a1", upgrade="pass", verify="return True")
    flag = shop.folder / "slow"
    body = f"from pathlib import Path\nif Path({str(flag)!r}).exists():\n    {SLOW[slow].splitlines()[0]}\nreturn True"
    shop.revision("main", "a2", "a1", upgrade="pass", verify=body, timeout="1s")
    with BlockingMigrator(load(str(shop.toml))) as migrator:
        migrator.upgrade("head")
        flag.touch()
        answers = migrator.verify()
    assert [answer.ok for answer in answers] == [True, False]
    assert answers[1].message.startswith("verify took longer than 1 s")
