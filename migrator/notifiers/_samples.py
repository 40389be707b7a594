"""The samples of our metrics: those of a former command can be read back from its file and added to."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

BUCKETS = (0.1, 1.0, 10.0, 60.0, 600.0, float("inf"))
"""Upper bounds in seconds: from a small statement to a long data change."""

LOCK_TIMEOUT = 4.0
PUSH_TIMEOUT = 4.0
"""Seconds, for another command that writes the same file and for a Pushgateway."""

DURATION = "script_execution_duration_seconds"
_SCRIPT = ("script", "database", "direction")
_LE = tuple("+Inf" if bound == float("inf") else str(bound) for bound in BUCKETS)
_LINE = re.compile(r"^(?P<name>\w+)\{(?P<labels>.*)\} (?P<value>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = {r"\\": "\\", r"\n": "\n", r"\"": '"'}

Labels = tuple[str, ...]


class _Family(NamedTuple):
    kind: str
    labels: Labels
    help: str


FAMILIES: Mapping[str, _Family] = {
    DURATION: _Family("histogram", _SCRIPT, "How long runs took."),
    "script_execution_status": _Family("gauge", _SCRIPT, "1 where the last run did well, 0 where it failed."),
    "script_last_run_timestamp": _Family("gauge", _SCRIPT, "When the last run ended, in seconds since 1970."),
    "migrator_pending_revisions": _Family("gauge", ("database",), "Revisions that are not applied."),
    "migrator_database_up": _Family("gauge", ("database",), "1 where the database could be read when this was asked."),
    "migrator_lock_wait_seconds": _Family("counter", ("database",), "Seconds of waiting for the lock."),
    "migrator_batch_rows": _Family("counter", ("script", "database"), "Rows that long changes went over."),
    "migrator_throttle_seconds": _Family("counter", ("script", "database"), "Seconds that long changes stood still."),
}
"""Every metric, with what a sample of it is labelled by. A counter's name in the text ends with `_total`."""


@dataclass(eq=False)
class Samples:
    """Values by family and labels: counters, which add up, and gauges, of which the newest counts.

    `runs` is the histogram: how many runs were within each bound, and the sum of their seconds. `known` are the scripts
    that a database has, so that those which are gone are left out of what there was before.
    """

    runs: dict[Labels, list[float]] = field(default_factory=dict)
    counters: dict[tuple[str, Labels], float] = field(default_factory=dict)
    gauges: dict[tuple[str, Labels], float] = field(default_factory=dict)
    known: dict[str, set[str]] = field(default_factory=dict)

    def observe(self, labels: Labels, seconds: float) -> None:
        """Add one run to the histogram."""
        self.add_runs(labels, [*(float(seconds <= bound) for bound in BUCKETS), seconds])

    def add(self, family: str, labels: Labels, value: float) -> None:
        """Add to a counter."""
        self.counters[family, labels] = self.counters.get((family, labels), 0.0) + value

    def put(self, family: str, labels: Labels, value: float) -> None:
        """Set a gauge."""
        self.gauges[family, labels] = value

    def plus(self, newer: "Samples") -> "Samples":
        """Return these with newer ones."""
        both = self._where(newer.knows)
        both.gauges |= newer.gauges
        both.known |= newer.known
        for labels, runs in newer.runs.items():
            both.add_runs(labels, runs)
        for (family, labels), value in newer.counters.items():
            both.add(family, labels, value)
        return both

    def knows(self, family: str, labels: Labels) -> bool:
        """Say whether a sample is of a script that there is, as far as is known here."""
        known = self.known.get(_database(family, labels))
        return known is None or FAMILIES[family].labels[0] != "script" or labels[0] in known

    def of(self, database: str) -> "Samples":
        """Return those of one database."""
        return self._where(lambda family, labels: _database(family, labels) == database)

    def _where(self, wanted: Callable[[str, Labels], bool]) -> "Samples":
        return Samples(
            {labels: runs for labels, runs in self.runs.items() if wanted(DURATION, labels)},
            {each: value for each, value in self.counters.items() if wanted(*each)},
            {each: value for each, value in self.gauges.items() if wanted(*each)},
            dict(self.known),
        )

    def databases(self) -> list[str]:
        """Return the databases that there are samples of."""
        return sorted({_database(*each) for each in (*self.counters, *self.gauges)})

    def text(self) -> str:
        """Return all in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry()).decode()

    def written(self, path: Path) -> "Samples":
        """Add these to what a file has, write it in one move, and return what it has now."""
        from filelock import FileLock
        from prometheus_client import write_to_textfile

        with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_TIMEOUT):
            both = _read(path).plus(self)
            write_to_textfile(str(path), both.registry())
        return both

    def push(self, address: str, job: str, environment: str, database: str) -> None:
        """Put these to a Pushgateway in place of what it has of this database."""
        from prometheus_client import push_to_gateway
        from prometheus_client.exposition import basic_auth_handler, default_handler

        from migrator.core.url import Url

        url = Url.parse(address, "metrics.push")
        known = partial(basic_auth_handler, username=url.user, password=url.password)
        send = known if url.password else default_handler
        group = {"environment": environment, "database": database}
        gateway = url.bare().rstrip("/")
        push_to_gateway(gateway, job, self.registry(), group, timeout=PUSH_TIMEOUT, handler=send)

    def registry(self) -> Any:
        """Return a registry of prometheus_client that holds these."""
        from prometheus_client import CollectorRegistry

        registry = CollectorRegistry()
        registry.register(self)  # it is a Collector by its methods
        return registry

    def describe(self) -> Iterable[Any]:
        """Return nothing: names are not checked, as no other collector is in the registry."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Return the samples as prometheus_client wants them."""
        from prometheus_client import Metric

        metrics = {name: Metric(name, family.help, family.kind) for name, family in FAMILIES.items()}
        for values, runs in sorted(self.runs.items()):
            labels = dict(zip(_SCRIPT, values, strict=True))
            for bound, count in zip(_LE, runs[:-1], strict=True):
                metrics[DURATION].add_sample(f"{DURATION}_bucket", {**labels, "le": bound}, count)
            metrics[DURATION].add_sample(f"{DURATION}_count", labels, runs[-2])
            metrics[DURATION].add_sample(f"{DURATION}_sum", labels, runs[-1])
        for found, end in ((self.gauges, ""), (self.counters, "_total")):
            for (family, values), value in sorted(found.items()):
                labels = dict(zip(FAMILIES[family].labels, values, strict=True))
                metrics[family].add_sample(family + end, labels, value)
        yield from metrics.values()

    def read(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Take in one line of a file; one that is not ours is passed over."""
        family = name.removesuffix("_total")
        if name.startswith(f"{DURATION}_"):
            self._read_run(name, labels, value)
        elif family in FAMILIES and (FAMILIES[family].kind == "counter") == (family != name):
            found = self.gauges if family == name else self.counters
            found[family, tuple(labels.get(each, "") for each in FAMILIES[family].labels)] = value

    def _read_run(self, name: str, labels: Mapping[str, str], value: float) -> None:
        runs = self.runs.setdefault(tuple(labels.get(each, "") for each in _SCRIPT), [0.0] * (len(BUCKETS) + 1))
        if name.endswith("_sum"):
            runs[-1] = value
        elif labels.get("le") in _LE:
            runs[_LE.index(labels["le"])] = value

    def add_runs(self, labels: Labels, runs: list[float]) -> None:
        """Add runs to the histogram: how many within each bound, and the sum of their seconds."""
        before = self.runs.get(labels)
        self.runs[labels] = [one + other for one, other in zip(before, runs, strict=True)] if before else runs


def _database(family: str, labels: Labels) -> str:
    return labels[FAMILIES[family].labels.index("database")]


def _read(path: Path) -> Samples:
    """Return what a file has of ours; nothing where there is no file, or nothing in it that can be read.

    The parser of prometheus_client reads any text and takes 40 us a line; this reads what it writes itself.
    """
    found = Samples()
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return found
    for line in _LINE.finditer(text):
        labels = {name: _unescaped(value) for name, value in _LABEL.findall(line[2])}
        with suppress(ValueError):
            found.read(line["name"], labels, float(line["value"]))
    return found


def _unescaped(value: str) -> str:
    return re.sub(r"\\.", lambda each: _ESCAPED.get(each[0], each[0]), value) if "\\" in value else value
