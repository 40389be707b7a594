"""What holds a long change back: what may be asked for, what each reading means, and how old it may be."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from migrator.core.errors import ConfigError, MigratorError, UsageError
from migrator.core.protocols import Capabilities
from migrator.core.throttle import (
    REMEMBERED,
    Lag,
    Reading,
    Throttle,
    Trail,
    aged,
    checked,
    chosen,
    kind,
    lagging,
    probed,
    queried,
    reason,
    unreadable,
    waiting,
)
from migrator.core.window import Window

POSTGRES = Capabilities(
    transactions=True, transaction_default=True, sql=True, signals=("query", "lag", "waiters", "long_transactions")
)
MONGO = Capabilities(
    transactions=True, transaction_default=False, sql=False, signals=("query", "lag", "long_transactions")
)
NOTHING = Capabilities(transactions=True, transaction_default=True, sql=False)


def test_defaults() -> None:
    """Without a word, lag and waiters are looked at, each where the database shows it."""
    assert chosen(POSTGRES) == Throttle(lag=2.0, waiters=1)
    assert chosen(MONGO) == Throttle(lag=2.0, waiters=None)
    assert chosen(NOTHING).names == ()


def test_tables_lie_over_one_another() -> None:
    """A call changes what migrator.toml says, name by name, and each signal can be turned off."""
    file = {"lag": "500ms", "long_transactions": 60, "http": "http://probe/", "window": "22:00-06:00"}
    found = chosen(POSTGRES, file, {"lag": None, "long_transactions": "5m", "waiters": 3, "query": "SELECT 1"})
    assert found == Throttle(
        lag=None,
        waiters=3,
        long_transactions=300.0,
        query="SELECT 1",
        http="http://probe/",
        window=Window.parse("22:00-06:00"),
    )
    assert chosen(POSTGRES, file).lag == 0.5
    assert chosen(POSTGRES, {"lag": False}, {"lag": True}).lag == 2.0
    assert chosen(POSTGRES, {"waiters": False}).waiters is None
    assert chosen(POSTGRES, {"waiters": True}).waiters == 1


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ({"lags": 2}, "Did you mean lag?"),
        ({"long_transaction": 2}, "Did you mean long_transactions?"),
        ({"moon": "full"}, "Known: window, query"),
        ({"lag": 0}, "takes seconds"),
        ({"lag": "soon"}, "takes seconds"),
        ({"lag": float("nan")}, "takes seconds"),
        ({"long_transactions": True}, "takes seconds"),
        ({"waiters": 0}, "from 1 on"),
        ({"waiters": "many"}, "from 1 on"),
        ({"query": ""}, "Write SQL"),
        ({"query": True}, "Write SQL"),
        ({"query": {}}, "Write SQL"),
        ({"http": "ftp://probe"}, "http://"),
        ({"http": "http://user:secret@probe"}, "without a user"),
        ({"http": 503}, "takes a text"),
        ({"window": 22}, "takes a text"),
        ({"window": "at night"}, "22:00-06:00 Europe/Berlin"),
        ({"window": "22:00-24:30"}, "22:00-06:00 Europe/Berlin"),
        ({"window": "22:00-22:00"}, "its beginning"),
        ({"window": "22:00-06:00 Europe/Berln"}, "Did you mean Europe/Berlin?"),
        ({"window": "22:00-06:00 Qqqq"}, "such as Europe/Berlin"),
    ],
)
def test_what_cannot_be_meant(table: Mapping[str, Any], hint: str) -> None:
    """An unknown name or value is refused with what to write in its place, and never with an address's password."""
    with pytest.raises(UsageError) as caught:
        chosen(POSTGRES, table)
    assert hint in caught.value.hint
    assert "secret" not in caught.value.message
    with pytest.raises(ConfigError) as in_file:
        checked(table, "databases.main.throttle")
    assert in_file.value.message == f"databases.main.throttle: {caught.value.message}"


@pytest.mark.parametrize(
    ("database", "table"),
    [
        (MONGO, {"waiters": True}),
        (NOTHING, {"lag": 2}),
        (MONGO, {"query": "SELECT 1"}),
        (POSTGRES, {"query": {"find": "flags"}}),
    ],
)
def test_what_the_database_does_not_have(database: Capabilities, table: Mapping[str, Any]) -> None:
    """A signal that is asked for by name and cannot be had is refused, and so is a query in another language."""
    with pytest.raises(MigratorError, match="kind of database"):
        chosen(database, table)
    assert chosen(database, dict.fromkeys(table, None)) == chosen(database).changed(dict.fromkeys(table, None))


def test_what_readings_mean() -> None:
    """Each reading holds back from its limit on, with its figures."""
    assert lagging(None, 2) == lagging(Lag("replica1", 1.99), 2) == ""
    assert lagging(Lag("replica1", 4.2), 2) == "4.2 s >= 2 s on replica1"
    assert waiting(0, 1) == ""
    assert waiting(2, 1) == "2 >= 1 session behind a lock of ours"
    assert aged(59.9, 60) == ""
    assert aged(61, 60) == "the oldest is 61.0 s >= 60 s old"
    assert probed(200) == probed(204) == ""
    assert probed(503) == "the probe answered 503"
    assert probed(301)
    assert [queried(value) for value in (None, 0, False, -1, 0.0, Decimal(0))] == [""] * 6
    assert queried(3) == "it gave 3"
    assert queried(True) == "it gave true"
    assert queried(Decimal("0.5")) == "it gave 0.5"
    refused: list[Any] = ["yes", "1", b"1", float("nan"), at("2026-06-01T00:00Z"), {}]
    for value in refused:
        with pytest.raises(ValueError, match="not a number or true or false"):
            queried(value)


def test_what_cannot_be_read() -> None:
    """Lag, query and probe hold back where they cannot be read; the others do not."""
    assert unreadable("lag", "why") == unreadable("query", "why") == unreadable("http", "why") == "cannot be read: why"
    assert unreadable("waiters", "why") == unreadable("long_transactions", "why") == ""


def test_the_first_reason_counts() -> None:
    """The reasons come in one order; a reading that is missing or old holds back, whatever it said."""
    names = ("query", "lag", "waiters")
    fine = {name: Reading(100.0) for name in names}
    assert reason(fine, names, 101.0) == ""
    assert reason({}, (), 101.0) == ""
    assert reason(fine, names, 115.0) == ""
    assert reason({**fine, "lag": Reading(90.0)}, names, 106.0) == "lag: stale, the last reading is 16 s old"
    assert reason({**fine, "lag": Reading(100.0, "why"), "waiters": Reading(0.0)}, names, 101.0) == "lag: why"
    assert reason({"lag": Reading(100.0)}, names, 101.0) == "query: nothing has been read yet"
    assert reason(fine, names, 101.0, stale=0.5).startswith("query: stale")
    assert kind("lag: 4.2 s >= 2 s on a:27017") == "lag"


def test_a_trail_tells_how_long_a_replica_is_behind() -> None:
    """A replica is behind since the primary was first ahead of it, also when the primary was quiet for long."""
    trail = Trail()
    assert not trail.known
    for now in range(10):
        trail.mark(now, 1000 + now)
    assert trail.behind(9.5, 1009) == 0
    assert trail.behind(9.5, 1006) == 2.5
    assert trail.behind(9.5, 0) == 9.5
    for now in range(10, 100):
        trail.mark(now, 1009)  # nothing is written
    assert trail.behind(99, 1009) == 0
    trail.mark(100, 9999)
    assert trail.behind(100.3, 1009) == pytest.approx(0.3)
    for now in range(101, 101 + 2 * REMEMBERED):
        trail.mark(now, 10_000 + now)
    assert trail.behind(now, 0) == REMEMBERED - 1


def at(text: str) -> datetime:
    """Return a moment."""
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("09:00-17:30", ["2026-06-01T09:00Z", "2026-06-01T17:29:59Z"], ["2026-06-01T08:59:59Z", "2026-06-01T17:30Z"]),
        (
            "22:00-06:00 Europe/Berlin",
            ["2026-06-01T20:00Z", "2026-06-02T03:59:59Z", "2026-12-01T21:00Z", "2026-12-01T23:00-05:00"],
            ["2026-06-01T19:59:59Z", "2026-06-02T04:00Z", "2026-12-01T20:59:59Z", "2026-12-02T05:00Z"],
        ),
        # The clocks go from 2:00 to 3:00 on 29 March: 2:30 comes with 3:30 (1:30 UTC).
        (
            "02:30-05:00 Europe/Berlin",
            ["2026-03-29T01:30Z", "2026-03-29T02:59Z", "2026-03-28T01:30Z"],
            ["2026-03-29T01:29Z", "2026-03-29T03:00Z", "2026-03-28T04:00Z"],
        ),
        ("02:10-02:50 Europe/Berlin", ["2026-03-29T01:10Z", "2026-03-29T01:49Z"], ["2026-03-29T01:50Z"]),
        # They go from 3:00 back to 2:00 on 25 October: what ends at 2:30 ends once, at its first coming (0:30 UTC).
        (
            "01:00-02:30 Europe/Berlin",
            ["2026-10-24T23:00Z", "2026-10-25T00:29Z"],
            ["2026-10-25T00:30Z", "2026-10-25T01:00Z", "2026-10-25T01:29Z"],
        ),
        ("02:30-05:00 Europe/Berlin", ["2026-10-25T00:30Z", "2026-10-25T01:15Z"], ["2026-10-25T00:29Z"]),
    ],
)
def test_windows(window: str, inside: list[str], outside: list[str]) -> None:
    """A window is one stretch of time a day by the clocks of its zone, also when these are changed."""
    read = Window.parse(window)
    assert [read.closed(at(moment)) for moment in inside] == [""] * len(inside)
    assert all(read.closed(at(moment)).startswith(f"outside {window}") for moment in outside)


def test_when_a_window_begins() -> None:
    """Outside, the reason says how long it takes until it begins."""
    window = Window.parse("22:00-06:00 Europe/Berlin")
    assert window.closed(at("2026-06-01T18:30:30Z")) == "outside 22:00-06:00 Europe/Berlin, which begins in 1 h 30 min"
    assert window.closed(at("2026-10-25T06:00Z")).endswith("begins in 15 h 00 min")
    assert window.closed(at("2026-03-29T04:00:00Z")).endswith("begins in 16 h 00 min")
