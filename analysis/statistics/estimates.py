"""Measures of alignment with what they are worth: an interval over samples, and a null band over their pairings.

Shapes: x (…, V·B, d) and y (…, V·B, e): V views of B samples, view 1 first; leading axes (steps, say) are batched and
are looped over only in blocks that fit in memory.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from numbers import Integral
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special  # not stats: it takes a second to load
from torch import Tensor

from analysis.arrays import pairwise
from analysis.arrays.alignment import ILL_CONDITIONED, must_have_neighbours, must_pair
from analysis.arrays.conversion import Array, pair
from analysis.statistics.null import chance
from coupled.address import Purpose, permutation
from coupled.errors import UserError, unknown
from coupled.theory.alignment import Value, cka_of, rsa_of
from coupled.theory.moments import Moments, narrow
from coupled.theory.scale import unit_rows

_BLOCK_NUMBERS = 4 << 20  # float64 numbers of one block of steps: 32 MiB
_TWO_SIDED = 1.96  # standard deviations of 95 %
LOST = 1e-4  # of a sum of fourth powers, what is left of it having lost four of its sixteen digits

EXACT: Final = "exact mean and sd over all re-pairings of samples"
SIMULATED: Final = "mean and sd of {} re-pairings of samples"
RANGES: Final[dict[str, tuple[float, float]]] = {
    "cka": (-1.0, 1.0),
    "cka_biased": (0.0, 1.0),
    "rsa": (-1.0, 1.0),
    "spearman": (-1.0, 1.0),
    "knn_overlap": (0.0, 1.0),
    "procrustes": (0.0, math.sqrt(2.0)),
}
OF_MOMENTS: Final[dict[str, Callable[[Moments], Value]]] = {
    "cka": cka_of,
    "cka_biased": lambda moments: cka_of(moments, debiased=False),
    "rsa": rsa_of,
}


Columns = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Estimate:
    """A measure and its uncertainty, arrays (…) over the leading axes; NaN where undefined."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]  # 95 % delete-group jackknife interval over samples, clipped to the measure's range
    high: NDArray[np.float64]
    null_low: NDArray[np.float64]  # mean ± 1.96 sd over re-pairings of samples, clipped likewise
    null_high: NDArray[np.float64]
    ill_conditioned: NDArray[np.bool_]  # rounding may reach the value's eighth digit
    interval: str  # how low and high were made, in words
    null: str  # how the null band was made, in words


def estimate(
    measure: str,
    x: Array,
    y: Array,
    *,
    views: int = 1,
    groups: int = 16,
    k: int = 10,
    permutations: int = 16,
) -> Estimate:
    """A measure of x (…, VB, d) and y (…, VB, e) with a 95 % interval and the band that chance pairings would give.

    measure: "cka" (debiased), "cka_biased", "rsa", "spearman", "knn_overlap" (k neighbours) or "procrustes". views: V,
    1 or 2; both views of a sample are left out, and re-paired, together. Interval: value ± t·se, t of groups − 1
    degrees of freedom, se of the delete-group jackknife over samples i ≡ j mod groups (as many groups as samples, if
    these are fewer). Null band: exact moments for CKA and RSA (B ≥ 4), else of `permutations` fixed ones. Raises
    UserError for an unknown measure, shapes that do not fit, and fewer than 2 groups.
    """
    return estimates(
        (measure,), x, y, views=views, groups=groups, k=k, permutations=permutations, unit=measure == "rsa"
    )[measure]


def estimates(
    measures: Sequence[str],
    x: Array,
    y: Array,
    *,
    views: int = 1,
    groups: int = 16,
    k: int = 10,
    permutations: int = 16,
    unit: bool = False,
    banded: Tensor | None = None,
) -> dict[str, Estimate]:
    """Several measures at once; those of moments share their sums, of rows as given or of `unit` rows, as RSA needs.

    `banded` bool (…): where measures of moments get interval and null band; elsewhere these are NaN. Default: all.
    """
    for measure in measures:
        if measure not in RANGES:
            raise unknown("measure", measure, RANGES)
    if not isinstance(permutations, Integral) or permutations < 2:
        raise UserError(f"permutations = {permutations}", "at least 2 are needed, a whole number")
    a, b = pair(x, y, " and ".join(measures), 4)
    samples = min(_samples(measure, a.shape[-2], views, groups, k) for measure in measures)
    groups, batch = min(groups, samples), a.shape[:-2]
    a, b = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
    left_out = [rows_of(torch.arange(j, samples, groups), samples, views) for j in range(groups)]
    of_moments = [measure for measure in measures if measure in OF_MOMENTS]
    keys = range(permutations if len(of_moments) < len(measures) else 0)
    orders = [rows_of(permutation(0, Purpose.PERMUTATION, samples, a=key), samples, views) for key in keys]
    parts: dict[str, list[Columns]] = {measure: [] for measure in measures}
    where = torch.ones(len(a), dtype=torch.bool) if banded is None else banded.reshape(-1)
    for left, right, chosen in _blocks(a, b, where):
        for measure, columns in _from_moments(
            of_moments, left, right, left_out, views=views, unit=unit, banded=chosen
        ).items():
            parts[measure].append(columns)
        for measure in set(measures) - set(of_moments):
            parts[measure].append(_from_pairs(_pairwise(measure, k), left, right, left_out, orders))
    simulated = SIMULATED.format(permutations)
    return {
        measure: estimated(
            measure, [torch.cat(column).reshape(batch).cpu().numpy() for column in zip(*blocks, strict=True)], groups,
            EXACT if measure in of_moments else simulated,
        )
        for measure, blocks in parts.items()
    }  # fmt: skip


def estimated(measure: str, columns: Sequence[NDArray[np.float64]], groups: int, null: str) -> Estimate:
    """The estimate of value, standard error, null mean, null sd and relative rounding error, each (…)."""
    value, error, mean, sd, rounding = columns
    half = float(special.stdtrit(groups - 1, 0.975)) * error
    limits = [value - half, value + half, mean - _TWO_SIDED * sd, mean + _TWO_SIDED * sd]
    within = RANGES.get(measure, (-math.inf, math.inf))
    clipped = [np.asarray(np.clip(limit, *within)) for limit in limits]
    interval = f"95 % jackknife interval, {groups} groups of samples left out in turn"
    ill = np.asarray((rounding > ILL_CONDITIONED) & np.isfinite(value))
    return Estimate(value, *clipped, ill_conditioned=ill, interval=interval, null=f"null band: {null}, ± 1.96 sd")


def _samples(measure: str, rows: int, views: int, groups: int, k: int) -> int:
    """How many samples there are; raises UserError for what does not fit."""
    if views not in (1, 2):
        raise UserError(f"views = {views}", "1 or 2 are possible")
    if rows % views:
        raise UserError(f"{rows} rows of {views} views", "as many rows of every view are needed, view 1 first")
    if not isinstance(groups, Integral) or groups < 2:
        raise UserError(f"groups = {groups}", "at least 2 are needed, a whole number, one of which is left out in turn")
    samples = rows // views
    if measure == "spearman":
        must_pair("Spearman RSA", rows)
    if measure == "knn_overlap":
        must_have_neighbours(k, rows - views * -(-samples // min(groups, samples)))
    return samples


def rows_of(samples: Tensor, of: int, views: int) -> Tensor:
    """The rows that hold some of the samples, view 1 first."""
    return torch.cat([samples + view * of for view in range(views)])


def _blocks(x: Tensor, y: Tensor, where: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Steps that are worked on together: their rows in float64, their products, all pairs of a few samples."""
    n, d, e = x.shape[-2], x.shape[-1], y.shape[-1]
    size = max(1, _BLOCK_NUMBERS // (2 * n * (d + e) + 4 * (d + e) ** 2 + min(n, 1024) ** 2))
    return zip(x.split(size), y.split(size), where.split(size), strict=True)


def _from_moments(
    measures: Sequence[str], x: Tensor, y: Tensor, left_out: list[Tensor], *, views: int, unit: bool, banded: Tensor
) -> dict[str, Columns]:
    """Value, standard error, null mean, null sd, relative rounding error of each measure, each (T,)."""
    if not measures:
        return {}
    if unit:
        x, y = unit_rows(x), unit_rows(y)
    x, y = narrow(x, unit=unit), narrow(y, unit=unit)
    total = Moments.about_mean(x, y, unit=unit)
    values = {measure: OF_MOMENTS[measure](total) for measure in measures}
    if not banded.any():
        without = torch.full_like(total.q, torch.nan)
        return {measure: (value, without, without, without, rounding) for measure, (value, rounding) in values.items()}
    if not banded.all():
        x, y = x[banded], y[banded]
        total = Moments.about_mean(x, y, unit=unit)
    errors = _errors(measures, x, y, left_out, total)
    columns = {}
    for measure, (value, rounding) in values.items():
        bands = value.new_full((3, len(value)), torch.nan)
        bands[:, banded] = torch.stack([errors[measure], *chance(measure, x, y, views=views)])
        error, mean, sd = torch.where(value.isnan(), torch.nan, bands)
        columns[measure] = value, error, mean, sd, rounding
    return columns


def _errors(measures: Sequence[str], x: Tensor, y: Tensor, left_out: list[Tensor], total: Moments) -> dict[str, Tensor]:
    """Jackknife standard error of each measure (T,); `total` are the moments of all rows about their means."""
    unit, every = total.unit, total.unsqueeze(1)
    shifts, rest = (every.shift_x, every.shift_y), {measure: [] for measure in measures}
    kept = kept_rows(left_out, x.shape[-2])
    # Sums are taken twice, for all and by group: the sums of all groups together might not fit for wide features.
    for groups in _together(left_out, x, y):
        rows = torch.stack([left_out[group] for group in groups])
        without = every - Moments.of(x[:, rows], y[:, rows], *shifts, unit=unit)
        values = {measure: OF_MOMENTS[measure](without).value for measure in measures}
        # Where a group holds nearly all of a sum, a difference is the rounding of it: the others are summed anew.
        lost = (without.qq < LOST * every.qq) | (without.uu < LOST * every.uu)
        for at in lost.any(0).nonzero()[:, 0].tolist():
            steps, others = lost[:, at], kept[groups[at]]
            anew = Moments.about_mean(x[steps][:, others], y[steps][:, others], unit=unit)
            for measure in measures:
                values[measure][steps, at] = OF_MOMENTS[measure](anew).value
        for measure in measures:
            rest[measure].append(values[measure])
    return {measure: jackknife(torch.cat(values, 1).mT) for measure, values in rest.items()}


def _together(left_out: list[Tensor], x: Tensor, y: Tensor) -> Iterator[list[int]]:
    """Groups with equally many rows, as many at once as their sums have room."""
    most = max(1, _BLOCK_NUMBERS // (2 * max(1, len(x)) * (x.shape[-1] + y.shape[-1]) ** 2))
    for _, equal in groupby(range(len(left_out)), lambda group: len(left_out[group])):
        groups = list(equal)
        yield from (groups[start : start + most] for start in range(0, len(groups), most))


def kept_rows(left_out: list[Tensor], n: int) -> Tensor:
    """bool (groups, n): the rows that stay when a group is left out."""
    kept = torch.ones(len(left_out), n, dtype=torch.bool)
    for group, rows in enumerate(left_out):
        kept[group, rows] = False
    return kept


def _from_pairs(kind: pairwise.Pairwise, x: Tensor, y: Tensor, left_out: list[Tensor], orders: list[Tensor]) -> Columns:
    """The same for a measure without moments; its null band from `orders` of y's rows: docs/theory.md (54)."""
    a, b = kind.prepare(x), kind.prepare(y)
    value = kind.compare(a, b)
    others = kept_rows(left_out, x.shape[-2])
    rest = torch.stack([kind.compare(kind.prepare(x[:, rows]), kind.prepare(y[:, rows])) for rows in others])
    null = torch.stack([kind.compare(a, kind.reorder(b, rows)) for rows in orders])
    mean = null.mean(0)
    sd = ((null - mean).square().sum(0) / (len(orders) - 1)).sqrt()
    return value, jackknife(rest), mean, sd, torch.zeros_like(value)


def _pairwise(measure: str, k: int) -> pairwise.Pairwise:
    if measure == "knn_overlap":
        return pairwise.knn_overlap(k)
    return pairwise.spearman() if measure == "spearman" else pairwise.procrustes()


def jackknife(rest: Tensor) -> Tensor:
    """Standard error from the values (g, …) without each group: √((g−1)/g · Σ(θ_j − θ̄)²), docs/theory.md (50)."""
    g = len(rest)
    return ((g - 1) / g * (rest - rest.mean(0)).square().sum(0)).sqrt()
