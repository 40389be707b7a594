"""What to do after a batch that failed, which texts walk in batches, and settings that people change meanwhile."""

import inspect
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest

from migrator.core import errors
from migrator.core.batch import Settings
from migrator.core.errors import DatabaseError, MigratorError, RevisionFileError, RunFailed, VerifyFailed
from migrator.core.failing import STUBBORN, TRIES, Next, after, pause
from migrator.core.loops import loops
from migrator.core.run import Run

AGAIN, SMALLER, SPLIT, ROW, STOP = Next.AGAIN, Next.SMALLER, Next.SPLIT, Next.ROW, Next.STOP

# For each class of migrator: what is done after a batch of many rows, of one row, and of one row for the last time.
CLASSES: dict[type[MigratorError], tuple[Next, Next, Next]] = {
    errors.StatementFailed: (SPLIT, ROW, ROW),
    errors.CheckFailed: (SPLIT, ROW, ROW),
    errors.StatementTimeout: (SMALLER, AGAIN, STOP),
    errors.ResourcesExhausted: (SMALLER, AGAIN, STOP),
    errors.TransactionAborted: (AGAIN, AGAIN, STOP),
}
EVERY = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, MigratorError)]


def one(kind: type[MigratorError]) -> MigratorError:
    """Make an error of a class."""
    if kind in (RunFailed, VerifyFailed):
        return kind("no", done=(), failed=Run(run_id="r", database="d", revision="a"), state="", hint="")
    if kind is RevisionFileError:
        return RevisionFileError("no", path="a.py")
    if issubclass(kind, errors.HistoryError):
        return kind("no", paths=())
    return kind("no")


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_class(kind: type[MigratorError]) -> None:
    """Each class has its answer by size and tries; what is not in the table is no row's fault and stops the loop."""
    error = one(kind)
    many, single, last = CLASSES.get(kind, (STOP, STOP, STOP))
    for size in (2, 3, 1_000, 100_000):
        assert after(error, size, 1) is many
    assert after(error, 1, 1) is single
    assert after(error, 1, TRIES - 1) is single
    assert after(error, 1, TRIES) is last
    assert after(error, 2, TRIES) is (STOP if many is AGAIN else many)


@pytest.mark.parametrize("code", ["112", "40001", "40P01"])
def test_a_batch_that_always_meets_others_gets_smaller(code: str) -> None:
    """Where other writers are in the way again and again, fewer rows at once meet fewer of them."""
    error = errors.TransactionAborted("no", code=code)
    assert [after(error, 100, tries) for tries in (1, 2, 3, TRIES)] == [AGAIN, AGAIN, SMALLER, SMALLER]
    assert [after(error, 1, tries) for tries in (1, 3, TRIES)] == [AGAIN, AGAIN, STOP]
    assert after(errors.TransactionAborted("no", code="24"), 100, 3) is AGAIN


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("23505", SPLIT),
        ("22012", SPLIT),
        ("P0001", SPLIT),
        ("21000", SPLIT),
        ("54000", SPLIT),
        ("XX001", SPLIT),
        ("", SPLIT),
        ("42703", STOP),
        ("42P01", STOP),
        ("0A000", STOP),
        ("25P02", STOP),
        ("55000", STOP),
        ("57014", STOP),
        ("11000", SPLIT),
        ("121", SPLIT),
        ("14", SPLIT),
        ("2", SPLIT),
        ("25", SPLIT),
        ("421", SPLIT),
        ("9", STOP),
        ("26", STOP),
        ("59", STOP),
        ("263", STOP),
        ("40324", STOP),
    ],
)
def test_the_servers_word(code: str, expected: Next) -> None:
    """A wrong statement, a missing table and a person's cancellation are no row's fault; a value and a key are."""
    assert after(errors.StatementFailed("no", code=code), 100, 1) is expected
    assert after(errors.StatementFailed("no", code=code), 1, 1) is (ROW if expected is SPLIT else STOP)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("x"), SPLIT),
        (TypeError("x"), SPLIT),
        (KeyError("x"), SPLIT),
        (AttributeError("x"), SPLIT),
        (AssertionError(), SPLIT),
        (ZeroDivisionError(), SPLIT),
        (NameError("x"), STOP),
        (UnboundLocalError("x"), STOP),
        (ImportError("x"), STOP),
        (NotImplementedError(), STOP),
    ],
)
def test_the_scripts_own_errors(error: Exception, expected: Next) -> None:
    """What one row may cause is looked for in halves; what every row causes would pass over the whole table."""
    assert after(error, 100, 1) is expected
    assert after(error, 1, 1) is (ROW if expected is SPLIT else STOP)


def test_retryable_means_again() -> None:
    """Every class that says of itself that the transaction may succeed is begun again, and no other is."""
    for kind in EVERY:
        if issubclass(kind, DatabaseError):
            assert (after(one(kind), 10, 1) is AGAIN) is kind.retryable


@pytest.mark.parametrize("code", ["40001", "40P01", "112"])
def test_a_conflict_that_does_not_go_away(code: str) -> None:
    """A batch that meets another writer again and again becomes smaller, down to a row, which is only tried again."""
    error = errors.TransactionAborted("no", code=code)
    assert [after(error, 100, tries) for tries in (1, STUBBORN - 1, STUBBORN)] == [AGAIN, AGAIN, SMALLER]
    assert [after(error, 1, tries) for tries in (STUBBORN, TRIES - 1, TRIES)] == [AGAIN, AGAIN, STOP]


def test_pauses_grow() -> None:
    """The pause doubles from a quarter of a second to half a minute, and chance takes at most half of it away."""
    assert [pause(tries, 1.0) for tries in range(1, 10)] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert all(pause(tries, 0.0) == pause(tries, 1.0) / 2 for tries in range(1, 20))


HEAD = '"""A revision."""\nrevision = "a1"\n'
LOOP = "    async for batch in ctx.batches('orders'):\n        async with batch: ...\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("async def upgrade(ctx):\n" + LOOP, ("orders",)),
        (
            "async def upgrade(context):\n    async for one in context.batches(\n        'orders'\n    ): ...\n",
            ("orders",),
        ),
        (
            "async def upgrade(ctx):\n    async for b in ctx.batches('orders', name='orders.total'): ...\n",
            ("orders.total",),
        ),
        ("async def upgrade(ctx):\n    async for b in ctx.batches(key='id', source='orders'): ...\n", ("orders",)),
        ("async def upgrade(ctx):\n    async for b in ctx.batches(TABLE): ...\n", ("",)),
        ("async def upgrade(ctx):\n    async for b in ctx.batches('orders', name=NAME): ...\n", ("",)),
        ("async def upgrade(ctx):\n    for t in TABLES:\n        async for b in ctx.batches(t): ...\n", ("",)),
        ("async def upgrade(ctx):\n    walk = ctx.batches\n    async for b in walk('orders'): ...\n", ("",)),
        ("async def upgrade(ctx):\n" + LOOP + LOOP.replace("orders", "lines"), ("orders", "lines")),
        (
            "async def upgrade(ctx):\n    async def f():\n        async for b in ctx.batches('a'): ...\n",
            ("a",),
        ),
        (
            "class Fill(Script):\n    async def upgrade(self, ctx):\n        async for b in ctx.batches('a'): ...\n",
            ("a",),
        ),
        (
            "class Fill(Script):\n    async def downgrade(self, ctx):\n        async for b in ctx.batches('a'): ...\n",
            (),
        ),
        ("async def upgrade(ctx):\r\n" + LOOP.replace("\n", "\r\n"), ("orders",)),
        ("async def upgrade(ctx):\n    # as ctx.batches('orders') does\n    pass\n", ()),
        ('async def upgrade(ctx):\n    """Uses no ctx.batches("orders")."""\n', ()),
        ("async def upgrade(ctx):\n    await ctx.execute(\"SELECT 'ctx.batches(1)'\")\n", ()),
        ("async def upgrade(ctx):\n    await fill(ctx)\n\nasync def fill(ctx):\n" + LOOP, ()),
        ("async def downgrade(ctx):\n" + LOOP + "\nasync def upgrade(ctx): ...\n", ()),
        ("async def upgrade(ctx):\n    for job in queue.batches(): ...\n", ()),
        (
            "async def upgrade(ctx): ...\n\nclass Other:\n    async def upgrade(self, c):\n        c.batches('a')\n",
            (),
        ),
        ("def upgrade(:\n" + LOOP, ()),
        ("-- ctx.batches(\nSELECT 1;", ()),
    ],
)
def test_which_texts_walk_in_batches(text: str, expected: tuple[str, ...]) -> None:
    """The function itself must name the batches of its own context: no comment, no string, no other function."""
    assert loops(HEAD + text, "upgrade") == expected
    assert loops("\ufeff" + HEAD + text, "upgrade") == expected


NUMBERS = Settings()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, NUMBERS),
        ({"target": 2}, replace(NUMBERS, target=2.0)),
        ({"max_rows": 500.0}, replace(NUMBERS, max_rows=500)),
        (
            {"max_bytes": 1 << 20, "max_rows_per_second": 50},
            replace(NUMBERS, max_bytes=1 << 20, max_rows_per_second=50.0),
        ),
        ({"max_rows_per_second": 0}, NUMBERS),
        ({"unknown": 5, "target": 1.5}, replace(NUMBERS, target=1.5)),
    ],
)
def test_settings_that_people_change(asked: dict[str, float], expected: Settings) -> None:
    """What is asked for comes over what the revision says, each in its own kind of number."""
    assert NUMBERS.changed(asked) == expected
    assert type(Settings(target=1).changed({"target": 0.25}).target) is float
    assert Settings(target=1).changed({"target": 0.25}).target == 0.25


@pytest.mark.parametrize("name", list(vars(NUMBERS)))
@pytest.mark.parametrize("value", [-1, nan, inf, -inf, "5", None, True, [1], 1e300])
def test_settings_that_cannot_be_meant(name: str, value: Any) -> None:
    """A value that would stop the loop, or take its limits away, changes nothing; and it is said what is wrong."""
    if (name, value) == ("max_rows_per_second", 1e300):
        return
    assert NUMBERS.changed({name: value}) == NUMBERS
    assert f"{name} is {value!r}" in replace(NUMBERS, **{name: value}).odd
    assert NUMBERS.odd == ""


@pytest.mark.parametrize("name", ["target", "max_rows", "max_bytes"])
def test_zero_is_no_limit_here(name: str) -> None:
    """A target of nothing would mean no time limit, and a batch of no rows would never end."""
    assert NUMBERS.changed({name: 0}) == NUMBERS
    nothing: dict[str, Any] = {name: 0}
    assert replace(NUMBERS, **nothing).odd
