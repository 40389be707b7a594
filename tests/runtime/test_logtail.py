"""The tail of a log: a page from anywhere in it, or its end, with little read, however long it is."""

import gzip
import tracemalloc
from functools import partial
from pathlib import Path

import pytest

from migrator.core.logs import log_name, part_name
from migrator.core.run import Run
from migrator.runtime.logfiles import LogFiles, NoLog
from migrator.runtime.logtail import LONGEST, SCAN, LogPage, LogTail, Wanted

MEGABYTE = 1 << 20
ID = "01k9xxyyzz0a1"


def entry(text: str, level: str = "INFO") -> str:
    """Return a line as the log of a run has it."""
    return f"[2026-11-20 10:30:00] [{level}] [a1] {text}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the place of a run's log."""
    from datetime import UTC, datetime

    return tmp_path / log_name("a1", ID, datetime(2026, 11, 20, tzinfo=UTC))


def tail(path: Path, *, over: bool = True) -> LogTail:
    """Return what reads the log."""
    run = Run(run_id=ID, database="main", revision="a1", log_file=path.name)
    return LogTail(LogFiles(path.parent), run, over=over)


def texts(page: LogPage) -> list[str]:
    """Return what the lines of a page say, without what is before it."""
    return [line.text.rpartition("] ")[2] for line in page.lines]


def bytes_read() -> int:
    """Return how many bytes this program has asked the system for, whatever the cache of files had."""
    words = Path("/proc/self/io").read_text().split()
    return int(words[words.index("rchar:") + 1])


def big(path: Path) -> int:
    """Write a log of 100 MB, of which the last line is an error, and return its size."""
    block = (entry("x" * 58) * (MEGABYTE // 97)).encode()
    with path.open("wb") as file:
        for _ in range(100):
            file.write(block)
        file.write(entry("the end", "ERROR").encode())
    return path.stat().st_size


def test_a_log_of_100_mb(path: Path) -> None:
    """Its end, a page in the middle, and a search that finds nothing each read a few megabytes and keep little."""
    size = big(path)
    reader = tail(path)
    for ask, most in (
        (partial(reader.last, Wanted(limit=1000)), MEGABYTE),
        (partial(reader.page, size // 2, Wanted(limit=1000)), MEGABYTE),
        (partial(reader.page, 0, Wanted(search="nowhere")), SCAN + MEGABYTE),
        (partial(reader.last, Wanted(level="CRITICAL")), 2 * SCAN),
    ):
        tracemalloc.start()
        before = bytes_read()
        page = ask()
        assert bytes_read() - before < most
        assert tracemalloc.get_traced_memory()[1] < 4 * MEGABYTE
        tracemalloc.stop()
        assert page.size == size
    assert texts(reader.last(Wanted(limit=2)))[1] == "the end"
    assert [line.level for line in reader.last(Wanted(level="ERROR")).lines] == ["ERROR"]


def test_pages_follow_one_another(path: Path) -> None:
    """`next_offset` leads through the whole log, each line once; the last page is the complete one."""
    path.write_text("".join(entry(str(number)) for number in range(10)))
    found, place, pages = [], 0, []
    while True:
        page = tail(path).page(place, Wanted(limit=4))
        found += texts(page)
        pages.append(page.complete)
        place = page.next_offset
        if page.complete:
            break
    assert found == [str(number) for number in range(10)]
    assert pages == [False, False, True]
    assert place == page.size == path.stat().st_size
    assert texts(tail(path).page(page.lines[1].offset, Wanted(limit=1))) == ["9"]
    assert texts(tail(path).page(page.lines[1].offset - 1, Wanted(limit=1))) == ["9"]
    assert tail(path).page(10**12, Wanted()).next_offset == page.size


def test_a_search_goes_on_where_it_stopped(path: Path) -> None:
    """What is far away is found by going on with `next_offset`, some megabytes at a time."""
    path.write_text(entry("y" * 900) * (3 * SCAN // 900) + entry("The Needle"))
    place, calls = 0, 0
    while not (page := tail(path).page(place, Wanted(search="the needle"))).lines:
        assert not page.complete
        assert place < page.next_offset <= place + SCAN + LONGEST
        place, calls = page.next_offset, calls + 1
    assert calls == 3
    assert texts(page) == ["The Needle"]
    assert page.complete


def test_the_last_lines(path: Path) -> None:
    """The end of the log, and what is before any place in it, in the order in which it was written."""
    path.write_text("".join(entry(str(number)) for number in range(3000)))
    page = tail(path).last(Wanted(limit=3))
    assert texts(page) == ["2997", "2998", "2999"]
    assert page.complete
    before = tail(path).last(Wanted(limit=2), page.start)
    assert texts(before) == ["2995", "2996"]
    assert before.next_offset == page.start
    assert texts(tail(path).last(Wanted(limit=9), 0)) == []
    assert texts(tail(path).last(Wanted(search="17", limit=1))) == ["2917"]


def test_levels(path: Path) -> None:
    """A line that begins no entry goes with the one before it, on whatever page that is; JSON is understood too."""
    trace = entry("it failed", "ERROR") + "Traceback:\n  boom\n"
    path.write_text(
        entry("one") + "goes with one\n" + trace + entry("two") + '{"levelname": "WARNING", "message": 1}\n'
    )
    page = tail(path).page(0, Wanted(level="WARNING"))
    assert [line.level for line in page.lines] == ["ERROR"] * 3 + ["WARNING"]
    place = tail(path).page(0, Wanted(level="ERROR", limit=1)).next_offset
    assert texts(tail(path).page(place, Wanted(level="ERROR"))) == ["Traceback:", "  boom"]
    place = tail(path).page(0, Wanted(limit=1)).next_offset
    assert texts(tail(path).page(place, Wanted(level="ERROR", limit=1))) == ["it failed"]


def test_a_line_that_is_being_written(path: Path) -> None:
    """A line without an end waits until there is one, or until nobody writes any more."""
    path.write_text(entry("whole") + "half a li")
    page = tail(path, over=False).page(0, Wanted())
    assert texts(page) == ["whole"]
    assert not page.complete
    assert page.next_offset == len(entry("whole"))
    assert texts(tail(path, over=False).last(Wanted())) == ["whole"]
    assert texts(tail(path).page(0, Wanted())) == ["whole", "half a li"]
    assert texts(tail(path).last(Wanted())) == ["whole", "half a li"]
    assert tail(path).last(Wanted()).complete


def test_a_line_without_end(path: Path) -> None:
    """A line is cut, and one of many megabytes takes several calls, none of which reads much."""
    path.write_text("z" * (5 * SCAN // 2) + "\n" + entry("behind it"))
    page = tail(path).page(0, Wanted())
    (line,) = page.lines
    assert len(line.text) == LONGEST + 2
    assert line.text.endswith("z …")
    assert not page.complete
    page = tail(path).page(page.next_offset, Wanted())
    assert page.lines == ()
    page = tail(path).page(page.next_offset, Wanted())
    assert texts(page) == ["behind it"]
    assert page.complete


def test_a_file_that_is_begun_anew(path: Path) -> None:
    """Whoever reads along gets the rest of the full file first, then the new one; lines that are gone are told of."""
    path.write_text(entry("first") + entry("second"))
    page = tail(path, over=False).page(0, Wanted(limit=1))
    assert page.older == 0
    _begin_anew(path, entry("third"))
    rest = tail(path, over=False).page(page.next_offset, Wanted(), page.mark)
    assert texts(rest) == ["second"]
    assert (rest.next_offset, rest.older, rest.missed) == (0, 1, False)
    assert rest.mark != page.mark
    assert texts(tail(path).page(rest.next_offset, Wanted(), rest.mark)) == ["third"]
    _begin_anew(path, entry("fourth"))
    lost = tail(path, over=False).page(page.next_offset, Wanted(), page.mark)
    assert (lost.lines, lost.missed, lost.mark) == ((), True, tail(path).page(0, Wanted()).mark)
    assert texts(tail(path).page(lost.next_offset, Wanted(), lost.mark)) == ["fourth"]
    path.with_name(part_name(path.name, 1)).write_bytes(b"no gzip")
    assert tail(path).page(3, Wanted(), rest.mark).missed


def test_no_log(path: Path, tmp_path: Path) -> None:
    """A log that is gone, a link, and a name that is no log of this run are not opened."""
    with pytest.raises(NoLog, match="not there"):
        tail(path).page(0, Wanted())
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    path.symlink_to(secret)
    with pytest.raises(NoLog, match="cannot be read"):
        tail(path).last(Wanted())
    for name in ("secret", "../secret", str(secret), path.name.replace(ID, "01k9xxyyzz0a2")):
        run = Run(run_id=ID, database="main", revision="a1", log_file=name)
        with pytest.raises(NoLog, match="is not opened"):
            LogTail(LogFiles(tmp_path), run, over=True).last(Wanted())


def _begin_anew(path: Path, text: str) -> None:
    """Do what the writer does with a full file."""
    part = path.with_name(part_name(path.name, 1))
    if part.exists():
        part.replace(path.with_name(part_name(path.name, 2)))
    part.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    path.write_text(text)
