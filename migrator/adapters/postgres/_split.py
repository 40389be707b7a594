"""The statements of an SQL text, cut by PostgreSQL's own parser."""

from migrator.core.errors import DependencyMissing


def statements(text: str, path: str) -> list[str]:
    """Return the statements one by one, each on its own line of the text, so that an error is told with its place.

    What the parser cannot read stays whole: the server refuses it and says why. Raises DependencyMissing without the
    parser, unless the text is plainly one statement.
    """
    if ";" not in text.rstrip().removesuffix(";"):
        return [text]
    try:
        from postgast import PgQueryError, split
    except ModuleNotFoundError as error:
        raise DependencyMissing(
            f"{path} has several statements without a transaction, and {error.name}, which cuts them, is not installed",
            hint="Install the extra: pip install 'polymigrator[lint]'; or give each statement a revision of its own.",
        ) from error
    try:
        parts = split(text)
    except PgQueryError:
        return [text]
    found, place = [], 0
    for part in parts:
        place = text.index(part, place)
        found.append("\n" * text.count("\n", 0, place) + part)
        place += len(part)
    return found
