"""List the runs, newest first; show one; delete some; take the rows that one passed over once more."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from migrator.cli._command import Console, declare
from migrator.cli._options import DRY_RUN_EXIT, since, sure, until
from migrator.cli._retry import command as retry_failed
from migrator.core.runs import WORDS
from migrator.core.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.core.batch import FailedRow
    from migrator.core.change import Change
    from migrator.core.run import Run
    from migrator.core.runs import RunPage

ERROR_WIDTH = 60
SKIPPED = 20
"""How many rows that were passed over are shown one by one."""


@declare(example="migrator runs --status failed --since 7d", cls=click.Group, invoke_without_command=True)
@click.option("--script", default="", metavar="ID", help="Of this revision: its id or the beginning of it.")
@click.option("--status", "words", multiple=True, type=click.Choice(WORDS), help="That stand so; repeatable.")
@click.option("--direction", type=click.Choice(["upgrade", "downgrade"]), help="That went this way.")
@since
@until
@click.option("--user", default="", help="Started by this user.")
@click.option("--host", default="", help="Started on this host.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--after", default="", metavar="RUN", help="Go on after the last run of the page before.")
async def command(
    console: Console, *, words: tuple[str, ...], direction: str | None, limit: int, after: str, **given: str
) -> None:
    """List runs of all databases, superseded ones too, newest first.

    A pending run is running while somebody holds the lock, and interrupted when nobody does.
    """
    from migrator.cli._table import table
    from migrator.core.revision import Direction
    from migrator.core.runs import RunFilter

    way = Direction(direction) if direction else None
    wanted = RunFilter(
        script=given["script"],
        direction=way,
        user=given["user"],
        host=given["host"],
        since=given["since"],
        until=given["until"],
    )
    async with console.open() as migrator:
        page = await migrator.past.runs(wanted, words, console.databases, limit=limit, after=after)
    if page.runs:
        headers = ("run", "started (UTC)", "script", "did", "status", "time", "by", "")
        console.print(table(headers, [_row(run, page) for run in page.runs]))
    else:
        console.print("There are no such runs.")
    if page.after:
        console.print(f"More: the same with --after {page.after}")
    console.print_json(page.as_dict)


@declare(example="migrator runs show 01k9")
@click.argument("run")
async def show(console: Console, *, run: str) -> None:
    """Show RUN in full, with the text that ran. The beginning of its id is enough; a revision means its last run."""
    async with console.open() as migrator:
        page = await migrator.past.run(run, console.databases)
        (found,) = page.runs
        change = await migrator.controls.of(found) if found.origin else None
        skipped = await migrator.controls.failures(found) if found.origin else []
    console.print(_text(found, page.standing(found), change, skipped))
    long = {"change": change.as_dict(), "failures": [asdict(each) for each in skipped]} if change else {}
    console.print_json(lambda: {**found.as_dict(), "standing": page.standing(found), **long, "source": found.source})


@declare(example="migrator runs delete 01k9xxyyzz0a1 --yes")
@click.argument("runs", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@sure
async def delete(console: Console, *, runs: tuple[str, ...], yes: bool, sure: str | None) -> int:
    """Delete RUNS from the tracker, and their log files.

    What the tracker knows of a revision now stays: the success of one that is applied, a failure that nothing came
    after, and whatever is pending.
    """
    from migrator.cli import _ask, _options

    async with console.open() as migrator:
        found = [each for run in runs for each in (await migrator.past.run(run, console.databases)).runs]
        chosen = list({(run.database, run.run_id): run for run in found}.values())
        listed = "".join(f"\n  {run.run_id}  {run.key}  {run.status}  {run.started_at}" for run in chosen)
        migrator.past.refuse_live(chosen)
        if migrator.config.dry_run:
            console.print(f"Would delete {counted(len(chosen), 'run')}:{listed}\nDry run: nothing was changed.")
            console.print_json(lambda: {"deleted": 0, "runs": [run.run_id for run in chosen]})
            return DRY_RUN_EXIT
        _options.confirm(migrator.config, sure, f"runs delete {' '.join(runs)}")
        await _ask.confirm(f"Delete {counted(len(chosen), 'run')}?{listed}\nGo on?", yes=yes)
        gone = await migrator.past.delete(chosen)
    console.print(f"Deleted {counted(gone, 'run')}.")
    console.print_json(lambda: {"deleted": gone, "runs": [run.run_id for run in chosen]})
    return 0


command.add_command(show, "show")  # type: ignore[attr-defined] # its class is click.Group, see above
command.add_command(delete, "delete")  # type: ignore[attr-defined]
command.add_command(retry_failed, "retry-failed")  # type: ignore[attr-defined]


def _did(run: "Run") -> str:
    word = "verify" if run.kind == "verify" else str(run.direction)
    return f"{word} (forced)" if run.forced else word


def _row(run: "Run", page: "RunPage") -> tuple[str, ...]:
    from migrator.core.wording import duration

    said = (run.error or run.reason).partition("\n")[0]
    return (
        run.run_id,
        run.started_at[:19].replace("T", " "),
        str(run.key),
        _did(run),
        page.standing(run),
        duration(run.duration_ms),
        f"{run.user}@{run.host}",
        said if len(said) <= ERROR_WIDTH else f"{said[:ERROR_WIDTH]}…",
    )


def _text(run: "Run", standing: str, change: "Change | None", skipped: "Sequence[FailedRow]") -> str:
    from migrator.core.wording import duration

    spent = f" after {duration(run.duration_ms)}" if run.duration_ms is not None else ""
    lines = {
        "run": f"{run.run_id}  {run.key}  {run.title}",
        "did": f"{run.direction} ({run.kind}), attempt {run.attempt}" + (", forced" if run.forced else ""),
        "status": f"{standing}, effect {run.effect}" + (f" ({run.reason})" if run.reason else ""),
        "started": f"{run.started_at} by {run.user}@{run.host} pid {run.pid}",
        "ended": f"{run.finished_at}{spent}" if run.finished_at else "",
        "error": run.error,
        "release": run.release,
        "deploy": run.deploy_id,
        "after it": f"run {run.superseded_by}" if run.superseded_by not in ("", run.run_id) else "",
        "params": json.dumps(run.params) if run.params else "",
        "progress": _progress(run, change),
        "skipped": _skipped(skipped),
        "cursor": json.dumps(run.cursor) if run.cursor else "",
        "result": json.dumps(run.result) if run.result else "",
        "log": run.log_file,
        "file": f"{run.path}  {run.checksum[:12]}",
    }
    shown = "\n".join(f"{name:9}{text}" for name, text in lines.items() if text)
    return f"{shown}\n\n{run.source}" if run.source else shown


def _progress(run: "Run", change: "Change | None") -> str:
    if change is None:
        return json.dumps(run.progress) if run.progress else ""
    from migrator.cli._changes import lines
    from migrator.core.wording import loop_report

    if run.status == "pending":
        return f"\n{'':9}".join(lines(change))
    return f"\n{'':9}".join(loop_report(loop) for loop in (run.progress or {}).get("loops", ()))


def _skipped(rows: "Sequence[FailedRow]") -> str:
    """Return the rows that a long change passed over and that are not done yet, the first of them one by one."""
    listed = [f"{each.name} {', '.join(map(str, each.key))}: {each.error}" for each in rows[:SKIPPED]]
    more = [f"and {len(rows) - SKIPPED:,} more"] if len(rows) > SKIPPED else []
    return f"\n{'':9}".join([*listed, *more])
