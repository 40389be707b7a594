"""Every file in `golden/` is read, and answers what the file next to it says."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from migrator.core.errors import RevisionFileError
from migrator.core.revision import Header
from migrator.formats import python, sql
from migrator.formats._text import decode

GOLDEN = Path(__file__).parent / "golden"
FORMATS: dict[str, Any] = {suffix: form for form in (python, sql) for suffix in form.SUFFIXES}


def files(folder: str) -> list[Any]:
    found = sorted(path for path in (GOLDEN / folder).iterdir() if path.suffix in FORMATS)
    return [pytest.param(path, id=path.name) for path in found]


def shown(header: Header) -> dict[str, Any]:
    """Return what differs from a header with a revision only, as JSON can hold it."""
    fields = {**asdict(header), "functions": sorted(header.functions)}
    plain = asdict(Header(revision=""))
    listed = {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}
    return {key: value for key, value in listed.items() if fields[key] != plain[key]}


@pytest.mark.parametrize("path", files("valid"))
def test_valid(path: Path) -> None:
    """A valid file gives the header in the JSON file next to it."""
    header = FORMATS[path.suffix].read(decode(path.read_bytes(), path.name), path.name)
    assert shown(header) == json.loads(path.with_suffix(".json").read_text())


def read_and_load(path: Path) -> None:
    """Do with a file what a command does: read it for the plan, load it for the run."""
    text = decode(path.read_bytes(), path.name)
    FORMATS[path.suffix].read(text, path.name)
    FORMATS[path.suffix].load(text, path.name)


@pytest.mark.parametrize("path", files("errors"))
def test_errors(path: Path) -> None:
    """A wrong file is refused with the message and the hint in the text file next to it, and with exit code 3."""
    with pytest.raises(RevisionFileError) as caught:
        read_and_load(path)
    assert f"{caught.value}\nhint: {caught.value.hint}\n" == path.with_name(path.name + ".txt").read_text()
    assert caught.value.hint
    assert caught.value.exit_code == 3


def test_pairs() -> None:
    """No expectation is left over from a file that is gone."""
    sources = {path.name for path in GOLDEN.glob("*/*") if path.suffix in FORMATS}
    stems = {Path(name).stem for name in sources}
    expected = {path.stem for path in GOLDEN.glob("*/*") if path.suffix in (".json", ".txt")}
    assert expected <= sources | stems
