"""Show what is applied and what is not."""

from typing import TYPE_CHECKING

import click

from migrator.cli._command import Console, declare

if TYPE_CHECKING:
    from migrator.core.change import Change
    from migrator.core.report import DatabaseReport

PENDING_EXIT = 11
_ELSEWHERE = "this is a standby or a secondary, which takes no changes: use the address of the primary"


@declare(example="migrator status")
@click.option("--exit-code", is_flag=True, help="Exit with 11 unless everything is applied.")
async def command(console: Console, *, exit_code: bool) -> int:
    """Show for each database where it stands, and every revision that needs attention.

    It takes no lock and changes nothing.
    """
    async with console.open() as migrator:
        reports = await migrator.status(console.databases)
    for report in reports:
        console.print(_text(report))
    console.print_json(lambda: {"databases": [report.as_dict() for report in reports]})
    clean = all(report.clean for report in reports)
    return PENDING_EXIT if exit_code and not clean else 0


def _text(report: "DatabaseReport") -> str:
    from migrator.cli._table import table, titled

    applied = report.having("applied", "drifted", "unknown")
    count = f"  {len(applied)} of {len(report.lines)} applied"
    if applied:
        last = applied[-1]
        count = titled(f"{count}, last {last.revision} (", last.title, f") at {last.applied_at}")
    lines = [f"{report.name}  {report.address}", count]
    if report.tracker:
        lines.append(f"  tracker: {report.tracker}")
    if report.lock:
        lines.append(f"  at work: {report.lock}")
    rows = [
        (line.state, line.revision, line.title, _about(line.state, line.applied_by, line.release, line.note))
        for line in report.lines
        if line.state != "applied" or line.failed_run
    ]
    if rows:
        lines.append(table(("state", "revision", "title", ""), rows, indent=2))
    for change in report.changes:
        lines.extend(_change(change))
    if rows:
        lines.append(f"  next: {_ELSEWHERE if report.follower else _next(report)}")
    return "\n".join(lines)


def _change(change: "Change") -> list[str]:
    """Return how a long change stands, its first line with its id."""
    from migrator.cli._changes import lines

    first, *rest = lines(change) or ["nothing of it is done yet"]
    return [f"  {change.run.revision} {first}", *(f"    {line}" for line in rest)]


def _about(state: str, by: str, release: str, note: str) -> str:
    if state == "unknown":
        return f"no file here; applied by {by}" + (f" from release {release}" if release else "")
    started = f"started by {by}" + (f": {note}" if note else "")
    texts = {"drifted": "the file changed after it ran", "interrupted": started}
    return texts.get(state, note if state in ("applied", "blocked", "failed") else "")


def _on(change: "Change") -> str:
    """Return what lets a long change go on, "" where `migrator upgrade` does."""
    if change.standing in ("cancelled", "paused"):
        return f"migrator resume {change.run.run_id} lets {change.run.revision} go on"
    down = change.standing == "interrupted" and change.run.direction == "downgrade"
    return f"migrator downgrade {change.run.database}:{change.run.revision}-1" if down else ""


def _next(report: "DatabaseReport") -> str:
    from migrator.core.report import restore_hint, upgrade_command

    again = upgrade_command(report.name, report.lines)
    if waiting := [_on(each) for each in report.changes if _on(each)]:
        return waiting[0]
    if blocked := report.having("blocked"):
        return f"migrator resolve {blocked[0].run_id} shows what it left and what to decide"
    if report.count("drifted"):
        return restore_hint(report.name, report.lines)
    if failed := [line for line in report.lines if line.failed_run]:
        after = f"; then {again}" if failed[0].state == "failed" else ""
        return f"migrator logs {failed[0].failed_run} shows why it failed{after}"
    if report.count("running", "pending", "interrupted"):
        return "wait for the run to end" if report.count("running") else again
    return f"deploy the release that has the missing files, or migrator downgrade {report.name}:-1"
