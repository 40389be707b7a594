"""What the metrics count, and how they outlive the commands that count them."""

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from migrator.core.events import (
    BatchDone,
    DeployEnded,
    Event,
    LockTaken,
    LockWaiting,
    PlanMade,
    RunSettled,
    Unthrottled,
)
from migrator.core.history import History
from migrator.core.plan import Plan
from migrator.core.revision import Direction
from migrator.core.run import Effect, Kind, Run, State, Status
from migrator.notifiers._samples import FAMILIES
from migrator.notifiers.metrics import Metrics
from tests.core.build import failed, key, line, state, success

RUN = replace(success(key("a")), duration_ms=250.0)
Found = dict[tuple[str, str], float]


def read(text: str) -> Found:
    """Return every sample by its name and its labels, as a real parser finds them."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(each.name, " ".join(value for _, value in sorted(each.labels.items()))): each.value for each in samples}
    assert len(found) == len(samples)
    return found


def end(*runs: Run) -> DeployEnded:
    """Make the end of a command with these runs."""
    return DeployEnded("d1", "upgrade", runs)


def counted(*events: Event, **places: Any) -> Found:
    """Return what one command with these events leaves."""
    metrics = Metrics(**places)
    for event in events:
        assert type(event) in metrics.hears
        metrics(event)
    return read(metrics.text())


def made(history: str, applied: str = "", *blocked: Run) -> PlanMade:
    """Make the event of a plan over a line of revisions."""
    return PlanMade(Plan(()), History(line(history)), state(applied, blocked=blocked), ("app",))


def test_a_run_is_counted() -> None:
    """A run adds to the histogram, with its bucket; the gauges say how and when the last one ended."""
    again = replace(RUN, status=Status.FAILED, effect=Effect.NONE, duration_ms=5000.0)
    found = counted(end(RUN, again))
    name = "script_execution_duration_seconds"
    buckets = {labels.split()[2]: value for (each, labels), value in found.items() if each == f"{name}_bucket"}
    assert buckets == {"0.1": 0, "1.0": 1, "10.0": 2, "60.0": 2, "600.0": 2, "+Inf": 2}
    assert found[f"{name}_count", "app upgrade a"] == 2
    assert found[f"{name}_sum", "app upgrade a"] == pytest.approx(5.25)
    assert found["script_execution_status", "app upgrade a"] == 0
    assert found["script_last_run_timestamp", "app upgrade a"] > 1_700_000_000


def test_a_stamp_took_no_time() -> None:
    """A stamp is no execution: it counts as applied and not as a run."""
    found = counted(made("a"), end(replace(RUN, kind=Kind.STAMP)))
    assert not [name for name, _ in found if name.startswith("script_execution_duration")]
    assert found["migrator_pending_revisions", "app"] == 0


def test_what_the_tracker_says_comes_from_the_tracker() -> None:
    """Gauges know runs of other hosts: applied and broken revisions with their times, and how many are left."""
    found = counted(made("a b c d", "a b", replace(failed("c"), finished_at="2026-11-20T10:31:00Z")), end())
    assert found["script_execution_status", "app upgrade a"] == 1
    assert found["script_execution_status", "app upgrade c"] == 0
    assert found["script_last_run_timestamp", "app upgrade c"] == 1795170660
    assert found["migrator_pending_revisions", "app"] == 2


def test_the_pending_ones_go_and_come() -> None:
    """What is applied is pending no more, what is taken down is pending again, what failed stays."""
    up, down = success(key("b")), replace(RUN, direction=Direction.DOWNGRADE)
    assert counted(made("a b c", "a"), end(up, failed("c")))["migrator_pending_revisions", "app"] == 1
    assert counted(made("a b c", "a"), end(down))["migrator_pending_revisions", "app"] == 3


def test_waits_and_batches() -> None:
    """A wait for the lock counts once, as long as it was; rows and standstills of long changes add up."""
    waits: list[Event] = [LockWaiting("app", "ann", 2.0), LockWaiting("app", "ann", 4.0), LockTaken("app", 4.5)]
    batches: list[Event] = [BatchDone(RUN, 100, 100, 0.5), BatchDone(RUN, 50, 150, 0.5), Unthrottled(RUN, "lag", 2.5)]
    found = counted(*waits, *batches, end(), LockTaken("app", 1.0), end())
    assert found["migrator_lock_wait_seconds_total", "app"] == 5.5
    assert found["migrator_batch_rows_total", "app a"] == 150
    assert found["migrator_throttle_seconds_total", "app a"] == 2.5
    assert counted(LockWaiting("app", "ann", 4.0), end())["migrator_lock_wait_seconds_total", "app"] == 4


def test_a_settled_run_is_a_failed_one() -> None:
    """What an interrupted run is judged to be is how the script stands."""
    assert counted(RunSettled(failed("b")), end())["script_execution_status", "app upgrade b"] == 0


def test_the_file_outlives_the_command(tmp_path: Path) -> None:
    """Counters go on from the file; gauges of this database are new, those of another stay; the file is one move."""
    file = tmp_path / "migrator.prom"
    other = replace(RUN, database="other", revision="z")
    counted(made("a b"), BatchDone(RUN, 7, 7, 1.0), end(RUN, other), textfile=file)
    assert read(file.read_text())["migrator_pending_revisions", "app"] == 1
    counted(made("a b c", "a"), BatchDone(RUN, 5, 5, 1.0), end(RUN), textfile=file)
    found = read(file.read_text())
    assert found["script_execution_duration_seconds_count", "app upgrade a"] == 2
    assert found["script_execution_duration_seconds_sum", "app upgrade a"] == pytest.approx(0.5)
    assert found["script_execution_duration_seconds_count", "other upgrade z"] == 1
    assert found["script_execution_status", "other upgrade z"] == 1
    assert found["migrator_batch_rows_total", "app a"] == 12
    assert found["migrator_pending_revisions", "app"] == 2
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".prom"] == ["migrator.prom"]


def test_what_is_gone_leaves_the_file(tmp_path: Path) -> None:
    """A script that is in no file and in no tracker any more leaves the metrics with its next command."""
    file = tmp_path / "migrator.prom"
    counted(made("a b"), end(RUN), textfile=file)
    counted(made("b"), end(), textfile=file)
    assert "app upgrade a" not in {labels for _, labels in read(file.read_text())}


@pytest.mark.parametrize("rest", [b"", b"not metrics at all {", b"\xff\xfe", b'a{b="c"} nan\nup 1\n'])
def test_a_file_that_is_not_ours(tmp_path: Path, rest: bytes) -> None:
    """What a file holds that cannot be read as ours is replaced, never a reason to fail."""
    file = tmp_path / "migrator.prom"
    file.write_bytes(rest)
    counted(end(RUN), textfile=file)
    assert read(file.read_text())["script_execution_duration_seconds_count", "app upgrade a"] == 1


def test_every_letter_survives_the_file(tmp_path: Path) -> None:
    """Names with quotes, backslashes and newlines come back from the file as they were."""
    file = tmp_path / "migrator.prom"
    odd = replace(RUN, revision='a"b\\n\nc}\\')
    for _ in range(2):
        counted(end(odd), textfile=file)
    assert read(file.read_text())["script_execution_duration_seconds_count", f"app upgrade {odd.revision}"] == 2


def count_many(file: str, number: int, together: Any) -> None:
    """Count one run in each of several commands, as a program of its own, when all are there."""
    together.wait(60)
    for _ in range(number):
        counted(end(RUN), textfile=Path(file))


def test_two_that_end_together(tmp_path: Path) -> None:
    """Commands that write one file at the same time lose nothing of each other."""
    file = tmp_path / "migrator.prom"
    many = multiprocessing.get_context("spawn")
    together = many.Barrier(3)
    programs = [many.Process(target=count_many, args=(str(file), 15, together)) for _ in range(3)]
    for each in programs:
        each.start()
    for each in programs:
        each.join()
        assert each.exitcode == 0
    assert read(file.read_text())["script_execution_duration_seconds_count", "app upgrade a"] == 45


def test_a_server_goes_on_counting(tmp_path: Path) -> None:
    """In a program that lives long the text holds all of its commands, and the file each of them once."""
    file = tmp_path / "migrator.prom"
    metrics = Metrics(file)
    for _ in range(3):
        metrics(end(RUN))
        assert read(metrics.text()) == read(file.read_text())
    assert read(metrics.text())["script_execution_duration_seconds_count", "app upgrade a"] == 3


def test_every_metric_explains_itself() -> None:
    """Every metric has its help and its type in the text, whether or not there is a sample."""
    families = {family.name: family for family in text_string_to_metric_families(Metrics().text())}
    assert families.keys() == FAMILIES.keys()
    assert all(family.documentation and family.type == FAMILIES[name].kind for name, family in families.items())


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A place that cannot be written is an error of the notifier, for whoever runs it to tell."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken"):
        counted(end(RUN), textfile=tmp_path / "taken" / "migrator.prom")


def test_a_state_of_nothing() -> None:
    """A database without a tracker has only pending revisions."""
    metrics = Metrics()
    metrics.read(History(line("a b")), State(), ("app",))
    metrics.reached("app", up=True)
    found = read(metrics.text())
    assert (found["migrator_pending_revisions", "app"], found["migrator_database_up", "app"]) == (2, 1)
