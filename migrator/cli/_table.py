"""Tables: aligned columns in a pipe; on a terminal also fitted to its width, without folding inside a word."""

import sys
from collections.abc import Sequence

import click

_COLOURS = {
    "applied": "green",
    "ok": "green",
    "success": "green",
    "pending": "yellow",
    "running": "cyan",
    "warn": "yellow",
    "drifted": "red",
    "unknown": "magenta",
    "interrupted": "red",
    "blocked": "red",
    "fail": "red",
    "failed": "red",
}
_GAP = "  "
_WORDS = 0.4
"""The part of the room that whole words must fill; else a part of the next one is shown, too."""

_NARROWEST = 12
"""Cells that a title keeps before anything else gives way."""


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, indent: int = 0) -> str:
    """Return rows as text: aligned columns; on a terminal with a rule under the headers, and colours for states.

    On a terminal that is too narrow the title is shortened first; then the last columns go into lines below each row.
    """
    terminal = sys.stdout.isatty()
    room = terminal_width() - indent if terminal else 0
    lines = _fitted(headers, rows, room) if terminal else _lines(headers, rows)
    return "\n".join(" " * indent + line for line in lines)


def terminal_width() -> int:
    """Return how many cells a line of the terminal has."""
    from shutil import get_terminal_size

    return max(get_terminal_size().columns, 20)


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(each) else 1 + (east_asian_width(each) in "WF") for each in text)


def shortened(text: str, room: int) -> str:
    """Return the text, or as many of its words as there is room for, with an ellipsis; of one long word a part."""
    if cells(text) <= room:
        return text
    if room < 1:
        return ""
    kept = text
    while cells(kept) > room - 1:
        kept = kept[:-1]
    word = kept.rpartition(" ")[0].rstrip() if not text[len(kept)].isspace() else kept.rstrip()
    return (word if cells(word) >= _WORDS * room else kept) + "…"


def titled(before: str, title: str, after: str) -> str:
    """Return a line with a title in it, which is shortened to the terminal."""
    if sys.stdout.isatty():
        title = shortened(title, terminal_width() - cells(before + after))
    return f"{before}{title}{after}"


def _fitted(headers: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[str]:
    """Return as many columns as fit, and what is in the others in lines below each row."""
    for kept in range(len(headers), 1, -1):
        found = _with_short_titles(headers[:kept], [row[:kept] for row in rows], room)
        if _width(headers[:kept], found) <= room or kept == 2:  # noqa: PLR2004 - a name and what it is
            break
    header, rule, *lines = _lines(headers[:kept], found, rule=True)
    pairs = zip(lines, rows, strict=True)
    return [header, rule, *(each for line, row in pairs for each in (line, *_below(headers[kept:], row[kept:], room)))]


def _with_short_titles(headers: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> Sequence[Sequence[str]]:
    over = _width(headers, rows) - room
    if over <= 0 or "title" not in headers:
        return rows
    place = headers.index("title")
    title = max(_widths(headers, rows)[place] - over, _NARROWEST)
    return [[*row[:place], shortened(row[place], title), *row[place + 1 :]] for row in rows]


def _width(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return sum(_widths(headers, rows)) + len(_GAP) * (len(headers) - 1)


def _widths(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(cells(row[index]) for row in [headers, *rows]) for index in range(len(headers))]


def _lines(headers: Sequence[str], rows: Sequence[Sequence[str]], *, rule: bool = False) -> list[str]:
    widths = _widths(headers, rows)
    lines = [_line(headers, widths, bold=rule)]
    if rule:
        lines.append(click.style(_GAP.join("─" * width for width in widths), dim=True))
    return [*lines, *(_line(row, widths, bold=False) for row in rows)]


def _line(row: Sequence[str], widths: Sequence[int], *, bold: bool) -> str:
    padded = [cell + " " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True)]
    if bold:
        return click.style(_GAP.join(padded).rstrip(), bold=True)
    return _GAP.join(_coloured(cell, text) for cell, text in zip(row, padded, strict=True)).rstrip()


def _coloured(word: str, text: str) -> str:
    return click.style(text, fg=_COLOURS[word]) if word in _COLOURS else text


def _below(headers: Sequence[str], others: Sequence[str], room: int) -> list[str]:
    """Return the cells that have no column as lines below their row."""
    from textwrap import wrap

    named = [f"{header}: {cell}" if header else cell for header, cell in zip(headers, others, strict=True) if cell]
    space = "    "
    return wrap(
        ", ".join(named), room, initial_indent=space, subsequent_indent=space, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
