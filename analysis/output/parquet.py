"""The tables of curves as parquet files: the columns of `curves.csv`, each of one type."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from analysis.extra import extra
from analysis.output import files
from analysis.output.csv import HEADER, shown
from analysis.runs.curve import Band, Curve
from analysis.runs.run import Run

_INTEGERS: Final = ("step", "n", "d")
_NUMBERS: Final = ("value", "low", "high", "null_low", "null_high")  # all others are texts
_ROW_GROUP: Final = 1 << 17


def library() -> None:
    """Raises UserError where pyarrow, which writes these files, is not installed."""
    _arrow()


def _arrow(module: str = "pyarrow") -> Any:
    return extra(module, "pyarrow", "a parquet file", of="parquet")


def write_parquet(run: Run, curves: Iterable[Curve], name: str = "curves.parquet", *, all_steps: bool = True) -> Path:
    """Writes RUN/analysis/curves.parquet (or another `name`) with the rows, columns and values of `write_csv`.

    step, n and d are int64, value and the ends of both bands float64, all others texts. What is an empty cell there is
    null here: an undefined number, and what does not apply. Raises UserError where pyarrow is not installed.
    """
    arrow, data = _arrow(), io.BytesIO()
    schema = arrow.schema([(column, _type(arrow, column)) for column in HEADER])
    batches = [_batch(arrow, schema, curve if all_steps else shown(curve)) for curve in curves]
    table = arrow.Table.from_batches(batches, schema).combine_chunks()
    _arrow("pyarrow.parquet").write_table(table, data, row_group_size=_ROW_GROUP)
    return files.write(files.folder(run.path) / name, data.getvalue())


def _type(arrow: Any, column: str) -> Any:
    return arrow.int64() if column in _INTEGERS else arrow.float64() if column in _NUMBERS else arrow.string()


def _batch(arrow: Any, schema: Any, curve: Curve) -> Any:
    columns = dict(_columns(arrow, curve))
    return arrow.record_batch([columns[column] for column in HEADER], schema)


def _columns(arrow: Any, curve: Curve) -> Iterator[tuple[str, Any]]:
    count, undefined = len(curve.steps), np.isnan(curve.values)
    yield "step", arrow.array(curve.steps)
    yield "value", _numbers(arrow, curve.values)
    for prefix, band in (("", curve.interval), ("null_", curve.null)):
        low, high = (np.full(count, np.nan),) * 2 if band is None else (band.low, band.high)
        yield f"{prefix}low", _numbers(arrow, low)
        yield f"{prefix}high", _numbers(arrow, high)
    facts = {
        "interval": _words(curve.interval), "null": _words(curve.null), "flags": "; ".join(curve.flags),
    }  # fmt: skip
    for column in HEADER:
        if column not in (*_NUMBERS, "step", "note"):
            # An empty text and None are one in a CSV file: nothing.
            fact = facts.get(column, getattr(curve, column, None))
            scalar = arrow.scalar(None if fact == "" else fact, _type(arrow, column))
            yield column, arrow.repeat(scalar, count)
    yield "note", arrow.array([curve.undefined or None if gap else None for gap in undefined], arrow.string())


def _numbers(arrow: Any, values: np.ndarray) -> Any:
    return arrow.array(values, mask=np.isnan(values))


def _words(band: Band | None) -> str:
    return "" if band is None else band.what
