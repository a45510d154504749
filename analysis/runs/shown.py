"""Pieces of what a notebook shows, and a data frame of columns."""

import html
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.runs.numbers import number
from coupled.errors import UserError

_WIDTH, _HEIGHT, _EDGE = 280, 70, 4  # of the small picture, in pixels
_CELL: Final = 'style="text-align:left;padding:1px 10px 1px 0"'


def table(rows: Sequence[Sequence[object]], heads: Sequence[str] = ()) -> str:
    """An HTML table of plain texts."""
    head = "".join(f"<th {_CELL}>{html.escape(name)}</th>" for name in heads)
    cells = ("".join(f"<td {_CELL}>{html.escape(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if heads else ''}{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def block(title: str, *parts: str) -> str:
    """A title in bold over parts that are HTML."""
    return f"<div><b>{html.escape(title)}</b>{''.join(parts)}</div>"


def picture(steps: NDArray[np.int64], values: NDArray[np.float64], name: str) -> str:
    """The values over log step as SVG, broken where they are undefined; nothing of fewer than two."""
    finite = np.isfinite(values)
    if finite.sum() < 2:
        return ""
    x, low, high = np.log1p(steps), float(values[finite].min()), float(values[finite].max())
    across = _EDGE + (_WIDTH - 2 * _EDGE) * (x - x[0]) / (x[-1] - x[0])
    down = _HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * (values - low) / (high - low if high > low else 1.0)
    pieces, pen = [], "M"
    for at, height, known in zip(across, down, finite, strict=True):
        if known:
            pieces.append(f"{pen}{at:.1f} {height:.1f}")
        pen = "L" if known else "M"
    label = html.escape(f"{name} over log step, from {number(low)} to {number(high)}")
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{label}" style="display:block">'
        f'<path d="{" ".join(pieces)}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )


def frame(columns: Mapping[str, NDArray[Any] | Sequence[Any]]) -> Any:
    """A pandas data frame of copies of the columns, or a polars one where pandas is not installed. UserError where
    neither is. What is None in a list is missing, as the library has it.
    """
    for library in ("pandas", "polars"):
        if find_spec(library) is not None:
            return import_module(library).DataFrame({name: _copied(column) for name, column in columns.items()})
    raise UserError("a data frame", "pandas or polars makes one, and neither is installed", "pip install pandas")


def _copied(column: NDArray[Any] | Sequence[Any]) -> NDArray[Any] | list[Any]:
    return column.copy() if isinstance(column, np.ndarray) else list(column)
