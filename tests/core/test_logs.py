"""The names of log files, and the entries in them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.logs import LEVELS, Threshold, is_log_of, log_name, part_name, part_of

NOW = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)


def test_the_name() -> None:
    """It says what ran, when in UTC, and which run."""
    assert log_name("3f2a91", "1m7y", NOW) == "3f2a91-20261120T103000Z-1m7y.log"
    assert log_name("a", "1", NOW.astimezone(timezone(timedelta(hours=5)))) == "a-20261120T103000Z-1.log"
    assert log_name("../../etc/pass wd", "1", NOW) == "______etc_pass_wd-20261120T103000Z-1.log"


@given(st.text(max_size=100), st.from_regex(r"[a-z0-9]{1,26}", fullmatch=True))
def test_every_name_is_safe_and_its_own(script: str, run_id: str) -> None:
    """Whatever a script is called, its log is a plain name in the folder, of this run and of no other."""
    name = log_name(script, run_id, NOW)
    assert is_log_of(name, run_id)
    assert not is_log_of(name, f"{run_id}x")
    assert "/" not in name
    assert not name.startswith(".")
    part = part_of(part_name(name, 3))
    assert part is not None
    assert (part.name, part.run_id, part.number) == (name, run_id, 3)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../a-20261120T103000Z-1.log",
        "logs/a-20261120T103000Z-1.log",
        "a-20261120T103000Z-2.log",
        "a-20261120T103000Z-1.log.1.gz",
        "a-20261120T103000Z-1.log\n",
        "a-20261120T103000Z-1.log\0",
        "..-20261120T103000Z-1.log",
        "cleanup.log",
        "\\\\host\\a-20261120T103000Z-1.log",
        "a\u0661-20261120T103000Z-1.log",
    ],
)
def test_what_is_no_log_of_a_run(name: str) -> None:
    """What a tracker says is no log of ours is not touched: paths, other runs, other files."""
    assert not is_log_of(name, "1")


@pytest.mark.parametrize(
    "name", ["cleanup.log", "cleanup.log.1.gz", "notes.txt", "a-20261120T103000Z-1.log.x.gz", ".log"]
)
def test_what_is_no_part(name: str) -> None:
    """Other files in the folder are nobody's log."""
    assert part_of(name) is None


TEXT = (
    "[2026-11-20 10:30:00] [DEBUG] [a1] one",
    "[2026-11-20 10:30:00] [INFO] [a1] two",
    "    its second line",
    "[2026-11-20 10:30:00] [ERROR] [a1] three",
    "    a traceback",
    "    [2026-11-20 10:30:00] [DEBUG] [a1] quoted in it",
    "[2026-11-20 10:30:00] [WARNING] [a1] four",
)
JSON = ('{"levelname": "INFO", "message": "one"}', '{"levelname": "ERROR", "message": "two"}', "{broken", "[1]")


def test_levels() -> None:
    """A level lets its entries and those above through, each with all of its lines."""
    wanted = {"DEBUG": TEXT, "INFO": TEXT[1:], "WARNING": TEXT[3:], "ERROR": TEXT[3:6], "CRITICAL": ()}
    assert {level: tuple(filter(Threshold(level).lets, TEXT)) for level in LEVELS} == wanted
    assert tuple(filter(Threshold("ERROR").lets, JSON)) == JSON[1:]
