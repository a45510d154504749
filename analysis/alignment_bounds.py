"""Biased CKA and RSA of recorded z with P2's and the sharp lower bounds from the drift of the very Σ = z zᵀ.

Shapes: x (…, n, d) the anchor's z and y (…, n, d) the arm's; Σ (…, n, n).
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.curve import Curve
from analysis.measures import FEATURES, paired
from analysis.run import Run
from coupled.bounds import p2_cka, p2_rsa, sharp_cka, sharp_rsa

SOURCES: Final = ("batch", "surrogate", "panel")
MOST_SAMPLES: Final = 4096  # n×n matrices are formed
_ROUNDING: Final = 1e-14
_VERY: Final = {
    "cka": "of biased CKA of this very Σ = z zᵀ: not of debiased CKA, nor of h",
    "rsa": "of cosine + Pearson RSA of this very Σ",
}


class Relative(NamedTuple):
    """Relative drifts of one Σ to another, (…) float64: NaN where the norm that they are relative to is 0.

    `rho` ‖K−L‖/‖K‖ and `rho_star` ‖K−L‖/max(‖K‖, ‖L‖) of the centred K = HΣH (x) and L (y); `r` and `r_star` the same
    of the strict upper triangles of the RDMs 1 − cosine, each minus its mean.
    """

    rho: Tensor
    rho_star: Tensor
    r: Tensor
    r_star: Tensor


def relative_drift(x: Tensor, y: Tensor) -> Relative:
    """The relative drifts of x xᵀ and y yᵀ, by forming them: n ≤ `MOST_SAMPLES`, n ≥ 3."""
    assert x.shape == y.shape and 3 <= x.shape[-2] <= MOST_SAMPLES, (x.shape, y.shape)
    flat = [t.double().reshape(-1, *t.shape[-2:]) for t in (x, y)]
    # One pair at a time: its matrices stay in cache.
    found = torch.stack([_drift_of(a, b) for a, b in zip(*flat, strict=True)])
    return Relative(*found.reshape(*x.shape[:-2], 4).unbind(-1))


def _drift_of(x: Tensor, y: Tensor) -> Tensor:
    """(4,) ρ, ρ*, r, r* of x (n, d) and y (n, d)."""
    k, m = (t @ t.T for t in (x - x.mean(0), y - y.mean(0)))
    # Off-diagonal entries come twice, which cancels.
    a, b = (_off_diagonal(F.normalize(t, dim=1, eps=1e-300)) for t in (x, y))
    # The rounding of matrices that are constant, as in coupled/alignment.py.
    least = _ROUNDING**2 * x.square().sum(), math.sqrt(_ROUNDING) * len(x)
    return torch.stack([*_relative(k, m, float(least[0])), *_relative(a, b, least[1])])


def _off_diagonal(unit: Tensor) -> Tensor:
    """The cosines (n, n) of unit rows minus the mean of those off the diagonal, which is 0."""
    n = len(unit)
    cosines = (unit @ unit.T).fill_diagonal_(0.0)
    return cosines.sub_(cosines.sum() / (n * (n - 1))).fill_diagonal_(0.0)


def _relative(a: Tensor, b: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """‖a−b‖ over ‖a‖, and over the larger of both norms; NaN where that is not above `least`."""
    own, other, apart = a.norm(), b.norm(), torch.dist(a, b)
    larger = torch.maximum(own, other)
    undefined = torch.full_like(own, torch.nan)
    return (apart / own if own > least else undefined), (apart / larger if larger > least else undefined)


def alignment_curves(run: Run) -> Iterator[Curve]:
    """CKA (biased) and RSA of every arm with its anchor on z, with both lower bounds, for every source recorded."""
    for arm, spec in run.arms.items():
        for source in SOURCES:
            where = FEATURES[source, "z"]
            group = where.column.partition(".")[0]
            if spec.anchor is None or not run.schedules(where.stream, group):
                continue
            if not run.awaits(where.stream, arm, spec.anchor) and _samples(run, source) <= MOST_SAMPLES:
                yield from _of_source(run, arm, spec.anchor, source)


def _samples(run: Run, source: str) -> int:
    config = run.config
    sizes = {"batch": 2 * config.batches.size, "surrogate": 2 * config.panel.surrogate_size, "panel": config.panel.size}
    return sizes[source]


def _of_source(run: Run, arm: str, anchor: str, source: str) -> Iterator[Curve]:
    cka = run.curve("cka", arm=arm, source=source, feature="z", debiased=False)
    rsa = run.curve("rsa", arm=arm, source=source, feature="z")
    drifts = [relative_drift(x, y) for _, y, x in paired(run, arm, anchor, FEATURES[source, "z"])]
    drift = Relative(*(torch.cat(parts) for parts in zip(*drifts, strict=True)))
    for measured, bounds in (
        (cka, {"P2": p2_cka(drift.rho), "sharp": sharp_cka(drift.rho_star)}),
        (rsa, {"P2": p2_rsa(drift.r), "sharp": sharp_rsa(drift.r_star)}),
    ):
        yield measured
        for name, values in bounds.items():
            yield replace(
                measured,
                kind="lower bound",
                bound=name,
                values=np.asarray(values, np.float64).copy(),
                estimator=f"{name} corollary, from the measured relative drift of Σ",
                flags=(_VERY[measured.measure],),
            )
