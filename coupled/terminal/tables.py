"""Tables that are wider than the terminal: without lines, and their columns in several tables, one below the other."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Column, Table

_TEXT: Final = 16  # cells that a column of sentences gets at least


def fitting(table: Table, console: Console) -> Iterator[RenderableType]:
    """The table as it is if `console` has room for it without breaking a word or a number; else one without lines
    between its cells. If that is too wide as well, several, with some of its columns each and all of its rows.

    Columns that name a row are in every one, where there is room: the first, and where there are numbers what stands
    before them to the left, and a step; else the first half. A cell that is aligned to the right stays on one line;
    other cells, and headers, are broken between words. Only what is wider than the console by itself is broken inside.
    """
    if _taken(table, [_natural(console, column) for column in table.columns]) <= console.width:
        yield table
        return
    least = [_least(console, column) for column in table.columns]
    ways = {gap: _parts(table, least, console.width, gap) for gap in (1, 2)}
    gap = 2 if len(ways[2]) == len(ways[1]) else 1
    for number, chosen in enumerate(ways[gap]):
        if number:
            yield ""
        yield _part(table, console, chosen, [least[i] for i in chosen], gap, first=number == 0)
    if table.caption:
        yield table.caption


def _parts(table: Table, least: Sequence[int], width: int, gap: int) -> list[list[int]]:
    """The columns of every part: those that name rows, and as many others as there is room for, at least one."""
    naming = [i == 0 or column.justify == "left" or column.header == "step" for i, column in enumerate(table.columns)]
    names = naming.index(False) if False in naming else len(naming) // 2
    while names > 1 and sum(own + gap for own in least[:names]) + max(least[names:]) > width:
        names -= 1
    key, parts = list(range(names)), []
    for i in range(names, len(least)):
        if not parts or sum(least[j] + gap for j in (*parts[-1], i)) - gap > width:
            parts.append(key.copy())
        parts[-1].append(i)
    return parts


def _part(
    table: Table, console: Console, chosen: Sequence[int], least: Sequence[int], gap: int, *, first: bool
) -> Table:
    """A table of the chosen columns, each as wide as its words need and as the rest of the line allows."""
    title = table.title if first else None
    part = Table(
        title=title, title_justify="left", box=None, header_style="bold", pad_edge=False, padding=(0, gap, 0, 0)
    )
    spare = console.width + gap - sum(width + gap for width in least)
    for column, width in zip((table.columns[i] for i in chosen), least, strict=True):
        more = max(0, min(spare, _natural(console, column) - width))
        spare -= more
        part.add_column(column.header, justify=column.justify, width=min(width + more, console.width), overflow="fold")
    cells = [list(table.columns[i].cells) for i in chosen]
    for number, row in enumerate(table.rows):
        part.add_row(*(_hanging(of[number]) for of in cells), end_section=row.end_section)
    return part


def _hanging(cell: RenderableType) -> RenderableType:
    """A cell whose text is indented, with what is broken off it indented as well; not one that is broken already."""
    if not isinstance(cell, str) or not cell.startswith(" ") or "\n" in cell:
        return cell
    text = cell.lstrip(" ")
    return Padding(text, (0, 0, 0, len(cell) - len(text)))


def _taken(table: Table, widths: Sequence[int]) -> int:
    """Cells that a table takes whose columns are so wide: with what is between them and around."""
    _, right, _, left = table.padding
    return sum(widths) + len(widths) * (left + right) + (len(widths) + 1) * (table.box is not None)


def _natural(console: Console, column: Column) -> int:
    """Cells of the longest line of a column."""
    return max(column.min_width or 0, *(console.measure(cell).maximum for cell in (column.header, *column.cells)))


def _least(console: Console, column: Column) -> int:
    """Cells below which a word, or a number, would be broken."""
    header = max(column.min_width or 0, console.measure(column.header).minimum)
    widest = max((console.measure(cell).maximum for cell in column.cells), default=0)
    if column.justify == "right" or column.no_wrap:
        return max(header, widest)
    words = max((console.measure(cell).minimum for cell in column.cells), default=0)
    return max(header, words, min(_TEXT, widest))
