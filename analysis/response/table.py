"""The tables of a response: response.csv, response_curves.csv, and what the terminal shows."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

import numpy as np
from rich.table import Table

from analysis.output import files
from analysis.output.csv import number_cell, write_csv, write_rows
from analysis.output.table import title
from analysis.response import Response
from analysis.response.paths import VACUOUS, VIOLATED, bound_label
from analysis.response.points import Point
from analysis.runs.controls import loss_of
from analysis.runs.curve import Curve, pick
from analysis.runs.numbers import ABSENT, known, number
from analysis.runs.run import Run

CSV_NAME: Final = "response.csv"
CURVES_NAME: Final = "response_curves.csv"
RANKS_NAME: Final = "response_ranks.csv"
SHARES_NAME: Final = "response_shares.csv"
_RANKED: Final = ("arm", "measure", "step", "value", "placebos", "below", "above", "p_two_sided", "exact", "why")
_SHARED: Final = ("first", "second", "scale", "step", "copies_of_first", "copies_of_second", "share")
COLUMNS: Final = ("arm", "put in", "came out", "× put in", "weight gap", "CKA", "first flip", "growth a step")
BOUND_COLUMNS: Final = ("arm", "path bound", "|w-w'|", "bound", "bound / |w-w'|", "first vacuous step", "flags")
VACUOUS_WORDS: Final = (
    "first vacuous step: from where a bound is above what both arms have moved together (stream motion)"
)
CAPTION: Final = (
    "put in: |w-w'| at the step of a nudge; of another loss what its own gradients pushed, of kicks the sum of "
    "their norms. came out: |w-w'| at the last step. first flip: the first recorded step at which a unit had "
    "another sign on the watched panel images, in evaluation mode; others may have flipped before. "
)
_FIELDS: Final = tuple(field.name for field in fields(Point))


def write(run: Run, found: Response, *, all_steps: bool = False) -> list[Path]:
    """Writes response.csv, a row per arm, and response_curves.csv, every curve and bound, into RUN/analysis/; where
    there are ranks among placebos or energy shares, response_ranks.csv and response_shares.csv.
    """
    rows = [[_cell(getattr(point, name)) for name in _FIELDS] for point in found.points]
    paths = [
        write_rows(run, CSV_NAME, _FIELDS, rows),
        write_csv(run, found.curves, CURVES_NAME, all_steps=all_steps),
    ]
    ranks = [
        (r.arm, r.measure, r.step, r.value, r.placebos, r.rank.below, r.rank.above, r.rank.p, r.exact, r.why)
        for r in found.ranks
    ]
    shares = [(s.first, s.second, s.scale, s.step, *s.runs, s.share) for s in found.shares]
    for name, header, lines_of in ((RANKS_NAME, _RANKED, ranks), (SHARES_NAME, _SHARED, shares)):
        if lines_of:
            paths.append(write_rows(run, name, header, [[_cell(value) for value in row] for row in lines_of]))
    files.remove_others(files.folder(run.path), (RANKS_NAME, SHARES_NAME), paths)
    return paths


def rich_table(run: Run, found: Response) -> Table:
    """A row per arm, for a terminal."""
    caption = f"{CAPTION}growth a step: of a nudge until then."
    table = Table(title=title(run), caption=caption, title_justify="left", caption_justify="left")
    table.add_column(COLUMNS[0], overflow="fold")
    for column in COLUMNS[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    for point in found.points:
        numbers = (point.put_in, point.distance, point.amplification, point.weight_gap, point.cka)
        flip = ABSENT if point.first_flip is None else f"{point.first_flip:,}"
        table.add_row(point.arm, *map(known, numbers), flip, known(point.growth))
    return table


def bounds_table(found: Response) -> Table | None:
    """Every path bound at its last step beside the distance, for a terminal, flags below it; None without any."""
    if not any(curve.kind == "upper bound" for curve in found.curves):
        return None
    every = bound_rows(found.curves)
    flags = dict.fromkeys(f"{bound}: {flag}" for _, bound, *_, flag in every if flag)
    table = Table(caption=". ".join((VACUOUS_WORDS, *flags)), caption_justify="left")
    for column in BOUND_COLUMNS[:-1]:
        table.add_column(column, justify="left" if column in ("arm", "path bound") else "right")
    before = None
    for arm, *cells, _ in every:
        if before not in (None, arm):
            table.add_section()
        table.add_row(arm if arm != before else "", *cells)
        before = arm
    return table


def bound_rows(curves: Sequence[Curve]) -> list[list[str]]:
    """The cells of `BOUND_COLUMNS` for every path bound."""
    rows = []
    for bound in (curve for curve in curves if curve.kind == "upper bound"):
        distance = pick(curves, "distance", bound.arm)
        measured = None if distance is None else distance.at(int(bound.steps[-1]))
        value = float(bound.values[-1])
        ratio = known(value / measured) if measured else ABSENT
        # Of several seeds there may be several.
        vacuous = ", ".join(flag.removeprefix(VACUOUS) for flag in bound.flags if flag.startswith(VACUOUS)) or ABSENT
        flags = "; ".join(flag for flag in bound.flags if not flag.startswith(VACUOUS))
        shown = ABSENT if measured is None else known(measured)
        rows.append([bound.arm, bound_label(bound), shown, known(value), ratio, vacuous, flags])
    return rows


def violations(found: Response) -> list[str]:
    """A sentence for every path bound that does not hold though it has to."""
    return [
        f"{curve.arm}: the path bound {curve.bound} is {flag}: the ledger or the run is damaged, or this is a fault"
        for curve in found.curves
        for flag in curve.flags
        if flag.startswith(VIOLATED)
    ]


def lines(run: Run, found: Response) -> list[str]:
    """What else there is to say: contrasts, ranks among placebos, shares, and what is missing."""
    sentences = violations(found)
    for curve in found.curves:
        if curve.measure == "contrast":
            at_first, at_last = float(curve.values[0]), float(curve.values[-1])
            sentences.append(
                f"{curve.arm}: at the weights of {curve.reference} the gradient of its loss differs by "
                f"{number(at_first)} at step {curve.steps[0]}, by {number(at_last)} at step {curve.steps[-1]}"
                f"{_over_placebos(run, found, curve)}"
            )
    sentences += _of_curves(found)
    sentences += rank_lines(found)
    for share in found.shares:
        sentences.append(
            f"energy share of {share.first} and {share.second}, {share.runs[0]} and {share.runs[1]} copies nudged by "
            f"{share.scale}, at step {share.step}: {known(share.share)}"
        )
    return [*sentences, *found.missing]


def _over_placebos(run: Run, found: Response, contrast: Curve) -> str:
    """An arm's contrast over those of its placebos, in words."""
    ratios = []
    for other in found.curves:
        if other.measure == "contrast" and loss_of(run, other.arm) == contrast.arm:
            _, ours, others = np.intersect1d(contrast.steps, other.steps, return_indices=True)
            above, below = contrast.values[ours], other.values[others]
            ratio = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
            first, last = (known(float(end)) for end in ratio[[0, -1]])
            ratios.append(f"{first} and {last} times as much as that of {other.arm}")
    return f": {', '.join(ratios)}" if ratios else ""


def _of_curves(found: Response) -> list[str]:
    """What the flags of measured curves say, once each."""
    of_flag: dict[str, list[str]] = {}
    for curve in found.curves:
        for flag in curve.flags if curve.kind == "measured" else ():
            of_flag.setdefault(flag, []).append(curve.measure)
    return [f"{', '.join(dict.fromkeys(measures))}: {flag}" for flag, measures in of_flag.items()]


def rank_lines(found: Response) -> list[str]:
    """Where arms lie among their placebos."""
    sentences = []
    for rank in found.ranks:
        place = f"{rank.rank.below} of {rank.placebos} placebos below, {rank.rank.above} above"
        kind = "exact" if rank.exact else "for orientation"
        sentences.append(
            f"{rank.arm}: {rank.measure} {number(rank.value)} at step {rank.step}, {place}: p = {known(rank.rank.p)} "
            f"two-sided ({kind}: {rank.why})"
        )
    return sentences


def _cell(value: object) -> object:
    return number_cell(value) if isinstance(value, float) else "" if value is None else value
