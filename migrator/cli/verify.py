"""Ask what is applied whether the database still agrees."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.cli._command import Console, declare
from migrator.cli._options import targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.core.outcome import Verification

VERIFY_EXIT = 13


@declare(example="migrator verify --jobs 8 --report verify.xml")
@targets
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only what has this tag; repeatable.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="How many are asked at once.")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE", help="Write a report: JUnit for .xml, else JSON."
)
async def command(
    console: Console, *, targets: tuple[str, ...], tags: tuple[str, ...], jobs: int, report: Path | None
) -> int:
    """Run the verify of what is applied (all of it, or TARGETS) and report. Only the list of runs is written to.

    PostgreSQL refuses writes while a verify runs. Ends with 13 when one says no.
    """
    from migrator.cli._table import table
    from migrator.core.wording import duration

    async with console.watch() as migrator:
        answers = await migrator.verify(*targets, databases=console.databases, tags=tags, jobs=jobs)
    words = {True: "ok", False: "failed", None: "-"}
    rows = [
        (words[each.ok], f"{each.database}:{each.revision}", each.title, duration(each.duration_ms), each.message)
        for each in answers
    ]
    console.print(table(("verify", "revision", "title", "time", ""), rows) if rows else "Nothing is applied.")
    console.print_failures(f"{each.database}:{each.revision}: {each.message}" for each in answers if each.ok is False)
    document = {"verify": [asdict(each) for each in answers]}
    console.print_json(lambda: document)
    if report is not None:
        from migrator.cli._json import dumps

        report.write_text(_junit(answers, console) if report.suffix == ".xml" else dumps(document, console.mask) + "\n")
    return VERIFY_EXIT if any(each.ok is False for each in answers) else 0


def _junit(answers: "Sequence[Verification]", console: Console) -> str:
    """Return the answers as a JUnit report: a test suite for each database."""
    from xml.etree import ElementTree as ET

    suites = ET.Element("testsuites", name="migrator verify")
    for database in dict.fromkeys(each.database for each in answers):
        own = [each for each in answers if each.database == database]
        counts = {
            "tests": len(own),
            "failures": sum(each.ok is False for each in own),
            "skipped": sum(each.ok is None for each in own),
        }
        suite = ET.SubElement(suites, "testsuite", {"name": database, **{name: str(n) for name, n in counts.items()}})
        for each in own:
            seconds = f"{(each.duration_ms or 0) / 1000:.3f}"
            case = ET.SubElement(
                suite, "testcase", classname=database, name=f"{each.revision} {each.title}", time=seconds
            )
            if each.ok is False:
                ET.SubElement(case, "failure", message=console.mask(each.message))
            elif each.ok is None:
                ET.SubElement(case, "skipped", message=each.message)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
