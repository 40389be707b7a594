"""Where lines go, and what times and states are called: numbers and texts alone."""

import re
from datetime import UTC, date, datetime

import pytest

from migrator.core.agreement import agreed, mark
from migrator.core.days import Days
from migrator.core.errors import PlanRefused
from migrator.core.plan import Plan, Step
from migrator.core.revision import Direction, Header, Revision
from migrator.core.run import Effect, Kind, Run, Status
from migrator.core.stats import totals
from migrator.dashboard import _words
from migrator.dashboard._drawn import Rail, Row, graph, rounded, strip
from migrator.dashboard._page import STATIC
from migrator.dashboard._way import meaning, way
from migrator.runtime.runs import new_id

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_a_line_without_branches() -> None:
    """Every revision is in the first lane, and the line to one that is not applied is ahead."""
    rows = graph(["c", "b", "a"], {"c": ["b"], "b": ["a"], "a": []}, {"a", "b"})
    assert rows == [
        Row(0, (), (Rail(0, 0, True),)),
        Row(0, (Rail(0, 0, True),), (Rail(0, 0, False),)),
        Row(0, (Rail(0, 0, False),), ()),
    ]
    assert {row.lanes for row in rows} == {1}


def test_a_branch_and_its_end() -> None:
    """A merge opens a lane for its second parent, and both join again where the branch began."""
    order, parents = ["m", "l", "r", "o"], {"m": ["l", "r"], "l": ["o"], "r": ["o"], "o": []}
    merge, left, right, origin = graph(order, parents, order)
    assert merge.below == (Rail(0, 0, False), Rail(0, 1, False))
    assert (left.lane, right.lane, origin.lane) == (0, 1, 0)
    assert left.below == (Rail(1, 1, False), Rail(0, 0, False))
    assert set(origin.above) == {Rail(0, 0, False), Rail(1, 0, False)}
    assert [row.lanes for row in (merge, left, right, origin)] == [2, 2, 2, 2]


def test_two_heads_and_two_roots() -> None:
    """A lane that has ended is used again, and what has no line to anything has none."""
    rows = graph(["b", "a", "z"], {"b": [], "a": [], "z": []})
    assert [row.lane for row in rows] == [0, 0, 0]
    heads = graph(["b", "c", "a"], {"b": ["a"], "c": ["a"], "a": []})
    assert [row.lane for row in heads] == [0, 1, 0]


def test_a_strip_of_days() -> None:
    """The height of a column is its share of the scale, and a day without a run has none."""
    first = date(2026, 11, 18)
    days = Days()
    for day, status in (
        ("18", Status.SUCCESS),
        ("18", Status.FAILED),
        ("20", Status.ROLLED_BACK),
        ("20", Status.PENDING),
    ):
        run = Run(run_id="r", database="main", revision="a", status=status, started_at=f"2026-11-{day}T10:00:00Z")
        (total,) = totals([run])
        days.add(total)
    columns, most = strip(days.since(first, 3), 300, 100)
    assert most == 2
    assert [(each.done, each.failed) for each in columns] == [(1, 1), (0, 0), (1, 0)]
    assert [(each.done_height, each.failed_height) for each in columns] == [(50, 50), (0, 0), (50, 0)]
    assert strip({}, 300, 100) == ([], 1)


@pytest.mark.parametrize(
    ("number", "scale"), [(0, 1), (1, 1), (3, 4), (5, 5), (11, 20), (50, 50), (51, 100), (999, 1000)]
)
def test_a_scale(number: int, scale: int) -> None:
    """It ends at a number that reads well, and not below the largest value."""
    assert rounded(number) == scale


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("2026-11-20T12:00:00Z", "just now"),
        ("2026-11-20T11:59:18+00:00", "42 s ago"),
        ("2026-11-20T11:55:00", "5 min ago"),
        ("2026-11-20T10:30:00Z", "1.5 h ago"),
        ("2026-11-12T12:00:00Z", "8 d ago"),
        ("2026-11-20T15:00:00Z", "in 3 h"),
        ("", ""),
        ("yesterday", ""),
    ],
)
def test_how_long_ago(time: str, said: str) -> None:
    """In one unit, of what was and of what will be."""
    assert _words.ago(time, NOW) == said


def test_a_time_to_the_second() -> None:
    """It is in UTC; what is no time is shown as it is."""
    assert _words.clock("2026-11-20T12:00:00.123+02:00") == "2026-11-20 10:00:00"
    assert _words.clock("soon") == "soon"


def test_when_a_run_was_planned() -> None:
    """Its id says so; an id of another kind says nothing."""
    made = _words.moment(_words.run_made(new_id()))
    assert made is not None
    assert abs((datetime.now(UTC) - made).total_seconds()) < 60
    assert _words.run_made("short") == ""
    assert _words.run_made("u" * 13) == ""


def test_what_is_sought_is_marked() -> None:
    """Every place, whatever the case, and nothing of the text is ever markup."""
    assert str(_words.sought("a<b>A</b>", "A")) == "<mark>a</mark>&lt;b&gt;<mark>A</mark>&lt;/b&gt;"
    assert str(_words.sought("<i>", "")) == "&lt;i&gt;"
    assert str(_words.sought("Straße & İ", "i")) == "Straße &amp; İ"


def test_what_to_type_is_set_apart() -> None:
    """Backticks in pairs become code, an odd one stays, and the rest is text."""
    assert str(_words.spoken("`a <b>` & c")) == "<code>a &lt;b&gt;</code> &amp; c"
    assert str(_words.spoken("it's ` <b>")) == "it&#39;s ` &lt;b&gt;"


def made(status: Status, effect: Effect = Effect.NONE, **more: object) -> Run:
    """Make a run."""
    source = "async def verify(ctx): ..."
    return Run(run_id="r", database="m", revision="a", status=status, effect=effect, source=source, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "standing", "words"),
    [
        (made(Status.SUCCESS, Effect.FULL, finished_at="x"), "success", ["done"] * 5),
        (made(Status.PENDING), "running", ["done", "done", "running", "later", "later"]),
        (made(Status.PENDING), "interrupted", ["done", "done", "interrupted", "later", "later"]),
        (made(Status.FAILED, finished_at="x"), "failed", ["done", "done", "failed", "later", "done"]),
        (
            made(Status.FAILED, reason="verify_failed", finished_at="x"),
            "failed",
            ["done", "done", "done", "failed", "done"],
        ),
        (
            made(Status.SUCCESS, Effect.FULL, direction=Direction.DOWNGRADE, finished_at="x"),
            "success",
            ["done", "done", "done", "elsewhere", "done"],
        ),
        (made(Status.SUCCESS, Effect.FULL, kind=Kind.STAMP, finished_at="x"), "success", ["done"] * 3),
        (
            made(Status.FAILED, kind=Kind.VERIFY, reason="verify_failed", finished_at="x"),
            "failed",
            ["done", "done", "failed", "done"],
        ),
    ],
)
def test_the_way_of_a_run(run: Run, standing: str, words: list[str]) -> None:
    """Each station says how it stands."""
    assert [each.word for each in way(run, standing)] == words


@pytest.mark.parametrize(
    ("run", "standing", "ways"),
    [
        (made(Status.SUCCESS, Effect.FULL), "success", ("roll back",)),
        (made(Status.SUCCESS, Effect.FULL, superseded_by="s"), "success", ()),
        (made(Status.ROLLED_BACK), "rolled_back", ()),
        (made(Status.FAILED), "failed", ("retry",)),
        (made(Status.FAILED, Effect.UNKNOWN), "failed", ("resolve",)),
        (made(Status.FAILED, Effect.PARTIAL, cursor={"origin": "r"}), "failed", ("watch", "retry", "resolve")),
        (made(Status.FAILED, Effect.UNKNOWN, superseded_by="s"), "failed", ()),
        (made(Status.FAILED, kind=Kind.SCRIPT), "failed", ("again",)),
        (made(Status.PENDING, Effect.UNKNOWN), "interrupted", ("go on",)),
        (made(Status.PENDING, Effect.UNKNOWN, cursor={"origin": "r"}), "running", ("watch",)),
    ],
)
def test_what_can_be_done_about_a_run(run: Run, standing: str, ways: tuple[str, ...]) -> None:
    """What is not live any more offers nothing."""
    assert meaning(run, standing).ways == ways


def test_only_the_plan_that_was_agreed_to() -> None:
    """Another step, another order and another text make another plan; nobody's agreement allows all."""

    def step(name: str, checksum: str = "x") -> Step:
        header = Header(revision=name)
        return Step(Revision(database="m", header=header, path="p", source="", checksum=checksum), Direction.UPGRADE)

    plan = Plan((step("a"), step("b")))
    assert agreed(plan, mark(plan)) is plan
    assert agreed(plan, "") is plan
    for other in (Plan((step("b"), step("a"))), Plan((step("a"),)), Plan((step("a"), step("b", "y"))), Plan()):
        with pytest.raises(PlanRefused, match="not the one that was agreed to"):
            agreed(other, mark(plan))


@pytest.mark.parametrize("dark", [False, True])
def test_colours_can_be_told_apart(dark: bool) -> None:
    """Every text has the contrast of WCAG AA (4.5) on what it stands on, and the edge of a field 3; so in the dark."""
    text = (STATIC / "migrator.css").read_text("utf-8")
    light, _, rest = text.partition("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    if dark:
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", rest.partition("\n}\n")[0]))
    pairs = [(ink, ground) for ink in ("text", "muted", "accent") for ground in ("ground", "surface", "sunken")]
    tones = ("good", "wait", "bad", "busy", "odd", "idle")
    pairs += [(tone, ground) for tone in tones for ground in (f"{tone}-soft", "surface", "sunken")]
    pairs += [("on-accent", "accent"), ("accent", "accent-soft")]
    weak = [(ink, ground) for ink, ground in pairs if contrast(found[ink], found[ground]) < 4.5]
    weak += [
        (ink, "surface")
        for ink in ("edge", *(f"{tone}-mark" for tone in tones))
        if contrast(found[ink], found["surface"]) < 3
    ]
    assert weak == []


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, as WCAG reckons it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lighter, darker = sorted((light(one), light(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
