"""The log files of runs: how they are called, which names are safe, and the entries that are in them."""

import json
import re
from datetime import UTC, datetime
from typing import NamedTuple

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""From the least important to the most."""

PARTS = 9
"""How many full, compressed parts of one log are kept; the oldest goes when there would be more."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_]")
_LONGEST = 60
_NAME = re.compile(r"[A-Za-z0-9_]{1,60}-\d{8}T\d{6}Z-(?P<run>[A-Za-z0-9]{1,64})\.log")
_PART = re.compile(r"(?P<name>.+\.log)(?:\.(?P<number>\d{1,6})\.gz)?")
_TEXT = re.compile(r"\[[^\]]{1,40}\] \[(?P<level>[A-Z]+)\] ")


def log_name(script: str, run_id: str, now: datetime) -> str:
    """Return the name of a run's log file: what ran, when, and the run."""
    plain = _UNSAFE.sub("_", script)[:_LONGEST] or "_"
    return f"{plain}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{run_id}.log"


def is_log_of(name: str, run_id: str) -> bool:
    """Say whether a name that a tracker gave may be the log file of this run.

    Anything else is never opened nor deleted: a path that leaves the folder, or another run's log.
    """
    found = _NAME.fullmatch(name)
    return found is not None and found["run"] == run_id


class Part(NamedTuple):
    """A file in the log folder that belongs to a run's log: 0 is the one that is written to, higher ones are older."""

    name: str
    run_id: str
    number: int

    @property
    def file_name(self) -> str:
        """Return what the file is called."""
        return part_name(self.name, self.number)


def part_of(file_name: str) -> Part | None:
    """Return what a file of the log folder is a part of; None where it is no log of a run."""
    found = _PART.fullmatch(file_name)
    log = _NAME.fullmatch(found["name"]) if found else None
    if found is None or log is None:
        return None
    return Part(found["name"], log["run"], int(found["number"] or 0))


def part_name(name: str, number: int) -> str:
    """Return the name of a part of a log."""
    return f"{name}.{number}.gz" if number else name


class Threshold:
    """Lets the lines of a log through, in text or JSON, whose entry has this level or a higher one.

    A line that begins no entry goes with the entry before it, as the lines of a traceback do. Lines come in order.
    """

    def __init__(self, level: str) -> None:
        self._allowed = LEVELS[LEVELS.index(level) :]
        self._open = True

    def lets(self, line: str) -> bool:
        """Say whether the next line is let through."""
        found = level_of(line)
        self._open = found in self._allowed if found else self._open
        return self._open


def level_of(line: str) -> str:
    """Return the level of the entry that a line begins, in text or JSON; "" where it begins none."""
    if found := _TEXT.match(line):
        return found["level"]
    if line.startswith("{"):
        try:
            return str(json.loads(line)["levelname"])
        except (ValueError, KeyError, TypeError):
            return ""
    return ""
