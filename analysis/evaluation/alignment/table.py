"""The tables of alignment at checkpoints: alignment.csv, alignment_weights.csv, and what the terminal shows."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.table import Table

from analysis.divergence.layers import LayerMap
from analysis.output import files
from analysis.output.csv import number_cell, write_csv
from analysis.output.table import title
from analysis.runs.curve import Curve
from analysis.runs.numbers import number
from analysis.runs.run import Run

CSV_NAME: Final = "alignment.csv"
WEIGHTS_NAME: Final = "alignment_weights.csv"
COLUMNS: Final = ("arm", "with", "step", "CKA test", "CKA train", "RSA test", "RSA train", "weight gap")
_SHOWN: Final = (("cka", "test"), ("cka", "train"), ("rsa", "test"), ("rsa", "train"))


def write(run: Run, curves: Sequence[Curve], maps: Sequence[Sequence[LayerMap]]) -> list[Path]:
    """Writes alignment.csv, every curve at every step, and alignment_weights.csv, every layer of every pair (`maps`
    holds the four measures of each), into RUN/analysis/.
    """
    paths = [write_csv(run, curves, CSV_NAME)]
    return [*paths, _write_weights(run, maps)] if maps else paths


def _write_weights(run: Run, maps: Sequence[Sequence[LayerMap]]) -> Path:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("arm", "reference", "layer", "in_weight_gap", "step", *(map_.measure for map_ in maps[0])))
    for of_pair in maps:
        some = of_pair[0]
        for (i, step), (j, layer) in ((at, of) for at in enumerate(some.steps) for of in enumerate(some.layers)):
            counted = str(bool(some.in_weight_gap[j])).lower()
            cells = (number_cell(float(map_.values[i, j])) for map_ in of_pair)
            writer.writerow((some.arm, some.reference, layer, counted, int(step), *cells))
    return files.write(files.folder(run.path) / WEIGHTS_NAME, text.getvalue().encode())


def rows(curves: Sequence[Curve]) -> list[list[str]]:
    """The cells of every pair at every step, in the order of `COLUMNS`, of h."""
    by_pair: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        by_pair.setdefault((curve.arm, str(curve.reference)), []).append(curve)
    return [
        [*pair, f"{step:,}", *(_text(curve, step) for curve in _shown(of_pair))]
        for pair, of_pair in by_pair.items()
        for step in of_pair[0].steps.tolist()
    ]


def _shown(of_pair: Sequence[Curve]) -> list[Curve | None]:
    wanted = [(measure, split, "h") for measure, split in _SHOWN] + [("weight_gap", None, None)]
    facts = {(curve.measure, curve.split, curve.feature): curve for curve in of_pair}
    return [facts.get(key) for key in wanted]


def _text(curve: Curve | None, step: int) -> str:
    return number(None if curve is None else curve.at(step))


def rich_table(run: Run, curves: Sequence[Curve]) -> Table:
    """The table for a terminal."""
    table = Table(title=title(run), caption=notes(curves), title_justify="left", caption_justify="left")
    # On a narrow terminal names break; a number never does, as half of one still looks like a number.
    for column in COLUMNS[:2]:
        table.add_column(column, overflow="fold")
    for column in COLUMNS[2:]:
        table.add_column(column, justify="right", no_wrap=True, min_width=5 if column == "step" else 7)
    before = None
    for cells in rows(curves):
        pair = cells[:2]
        if before not in (None, pair):
            table.add_section()
        # The names once: the eye finds where the next pair begins.
        table.add_row(*(cells if pair != before else ["", "", *cells[2:]]))
        before = pair
    return table


def notes(curves: Sequence[Curve]) -> str:
    """n, d and estimators of the columns, how wide intervals and null bands are, and the flags of any curve."""
    of_h = [curve for curve in curves if curve.feature == "h"]
    counts = {curve.split: curve.n for curve in of_h}
    samples = " and ".join(f"{n:,} {split}" for split, n in counts.items())
    widest = {
        name: max(float(np.nanmax((band.high - band.low) / 2, initial=0)) for band in bands if band is not None)
        for name, bands in (("intervals", [c.interval for c in of_h]), ("null bands", [c.null for c in of_h]))
    }
    sentences = [
        f"CKA: {of_h[0].estimator}; RSA: cosine + Pearson; both of h, d = {of_h[0].d}, of {samples} images.",
        f"95 % intervals are ± {widest['intervals']:.2g} at most, null bands (chance pairings) "
        f"± {widest['null bands']:.2g}.",
    ]
    flags = dict.fromkeys(flag for curve in curves for flag in curve.flags)
    return " ".join([*sentences, *(f"{flag}." for flag in flags)])
