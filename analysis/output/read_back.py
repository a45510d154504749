"""CSV files of curves, read back: what an earlier command wrote, untrusted like every file that lies in a run."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from analysis.output import files
from analysis.output.csv import HEADER
from analysis.runs.curve import Band, Curve
from analysis.runs.run import Run
from coupled.errors import UserError
from coupled.store import REAL

T = TypeVar("T")

LARGEST: Final = 256 << 20  # bytes
_OF_ROW: Final = ("step", "value", "low", "high", "null_low", "null_high", "note")
_FACTS: Final = tuple(name for name in HEADER if name not in _OF_ROW)


def read_table(path: Path, what: str, read: Callable[[Iterator[list[str]]], T]) -> T | None:
    """What `read` makes of the lines of a CSV file, as lists of cells; None where there is no such file.

    UserError where it is no such file of this run: `what` names it, "a table of curves".
    """
    if not path.is_file():
        return None
    try:
        return read(csv.reader(io.StringIO(REAL.read(path, LARGEST).decode(), newline=""), strict=True))
    except (OSError, ValueError, OverflowError, KeyError, IndexError, csv.Error) as error:
        reason = f"{path} is not {what} of this run ({error})"
        raise UserError(reason, "the command that made it makes it again", "or remove it") from None


def read_curves(run: Run, name: str) -> list[Curve] | None:
    """The curves that `write_csv` wrote as RUN/analysis/`name`; None where there is no such file.

    UserError where it is not such a file of this run.
    """
    return read_curves_of(run, name, (), lambda curve, _: curve)


def read_curves_of(
    run: Run, name: str, more: Sequence[str], of: Callable[[Curve, Mapping[str, str]], T]
) -> list[T] | None:
    """`read_curves` of curves that have `more` columns, the same at all steps: what is made `of` each and its cells
    there, or a ValueError.
    """
    header, facts = (*HEADER, *more), (*_FACTS, *more)

    def read(lines: Iterator[list[str]]) -> list[T]:
        if tuple(next(lines, [])[: len(header)]) != header:
            raise ValueError("its columns are others")
        by_facts: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for line in lines:
            cells: dict[str, str] = dict(zip(header, line, strict=False))
            by_facts.setdefault(tuple(cells[fact] for fact in facts), []).append(cells)
        return [of(_curve(run, rows[0], rows), rows[0]) for rows in by_facts.values()]

    return read_table(files.found(run.path, name), "a table of curves", read)


def _curve(run: Run, facts: dict[str, str], rows: Sequence[dict[str, str]]) -> Curve:
    if facts["arm"] not in run.arms:
        raise ValueError("its arms are others")
    kinds = {"measured", "upper bound", "lower bound", "limit"}
    if facts["kind"] not in kinds or (facts["kind"] == "measured") != (facts["bound"] == ""):
        raise ValueError("a kind of curve that is unknown")
    notes = [row["note"] for row in rows if row["note"]]
    return Curve(
        measure=facts["measure"],
        arm=facts["arm"],
        reference=facts["reference"] or None,
        steps=np.array([int(row["step"]) for row in rows], np.int64),
        values=_numbers(rows, "value"),
        n=int(facts["n"]) if facts["n"] else None,
        d=int(facts["d"]),
        feature=facts["feature"] or None,
        source=facts["source"],
        split=facts["split"] or None,
        labelling=facts["labelling"] or None,
        estimator=facts["estimator"],
        undefined=notes[0] if notes else "undefined",
        kind=facts["kind"],  # type: ignore[arg-type]
        bound=facts["bound"] or None,
        flags=tuple(facts["flags"].split("; ")) if facts["flags"] else (),
        interval=_band(rows, "low", "high", facts["interval"]),
        null=_band(rows, "null_low", "null_high", facts["null"]),
    )


def _band(rows: Sequence[dict[str, str]], low: str, high: str, what: str) -> Band | None:
    return Band(_numbers(rows, low), _numbers(rows, high), what) if what else None


def _numbers(rows: Sequence[dict[str, str]], column: str) -> np.ndarray:
    return np.array([float(row[column]) if row[column] else np.nan for row in rows])
