"""The texts of revisions: in colour, and side by side with what ran. What comes back is markup, or lines of text."""

from collections.abc import Sequence
from difflib import unified_diff
from typing import NamedTuple

from markupsafe import Markup

COLOURED = 200_000
"""Characters up to which a text gets colours."""

COMPARED = 10_000
"""Lines up to which two texts are compared: the time grows with their square."""


class Changed(NamedTuple):
    """A line of a comparison; `kind` is added, gone, hunk or "" for one that stayed."""

    kind: str
    text: str


def coloured(text: str, path: str) -> Markup:
    """Return a text with line numbers and, by the ending of its path, the colours of its language."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer, SqlLexer, TextLexer

    lexer = SqlLexer if path.endswith(".sql") else PythonLexer
    chosen = lexer if len(text) <= COLOURED else TextLexer
    formatter: HtmlFormatter[str] = HtmlFormatter(linenos="inline", nobackground=True, wrapcode=False)
    return Markup(highlight(text, chosen(stripnl=False), formatter))  # noqa: S704 - pygments escapes the text


def compared(ran: str, now: str, path: str) -> Sequence[Changed] | None:
    """Return how a file differs from the text that ran, None where they are too long to be compared."""
    texts = ran.splitlines(), now.splitlines()
    if max(map(len, texts)) > COMPARED:
        return None
    lines = unified_diff(*texts, "as it ran", path, lineterm="")
    return [Changed(_KINDS.get(line[:1], "") if line[:3] not in ("---", "+++") else "hunk", line) for line in lines]


_KINDS = {"+": "added", "-": "gone", "@": "hunk"}
