"""List the revisions, newest last."""

from migrator.cli._command import Console, declare


@declare(example="migrator history -d main")
async def command(console: Console) -> None:
    """List the revisions of each database, parents first, with their labels and links. Touches no database."""
    from migrator.cli._table import table

    async with console.open() as migrator:
        history = await migrator.history(console.databases)
        names = console.databases or tuple(migrator.config.databases)
    revisions = [revision for revision in history if revision.database in names]
    rows = []
    for revision in revisions:
        parents = ", ".join(
            str(key) if key.database != revision.database else key.id for key in history.parents(revision.key)
        )
        head = "head" if not history.line_children(revision.key) else ""
        labels = ", ".join(sorted(revision.header.branch_labels))
        rows.append(
            (revision.database, revision.id, parents or "-", revision.title, " ".join(filter(None, (labels, head))))
        )
    console.print(table(("database", "revision", "after", "title", ""), rows))
    told = history.as_dict()["revisions"]
    console.print_json(lambda: {"revisions": [each for each in told if each["database"] in names]})
