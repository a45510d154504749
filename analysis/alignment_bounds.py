"""Biased CKA and RSA of recorded z with P2's and the sharp lower bounds from the drift of the very Σ = z zᵀ.

Shapes: x (…, n, d) the anchor's z and y (…, n, d) the arm's; Σ (…, n, n).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from analysis import drift
from analysis.aligned import FEATURES, paired
from analysis.curve import Curve
from analysis.run import Run
from coupled import alignment
from coupled.bounds import p2_cka, p2_rsa, sharp_cka, sharp_rsa

SOURCES: Final = ("batch", "surrogate", "panel")
_VERY: Final = {
    "cka_biased": "of biased CKA of this very Σ = z zᵀ: not of debiased CKA, nor of h",
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
    """The relative drifts of x xᵀ and y yᵀ, from moments. RSA is of cosines: r is that of unit rows."""
    unit = [F.normalize(t.double(), dim=-1, eps=1e-300) for t in (x, y)]
    of_cka, of_rsa = drift.similarity_drift(x, y), drift.similarity_drift(*unit)
    return Relative(of_cka.rho, of_cka.rho_star, of_rsa.r, of_rsa.r_star)


def alignment_curves(run: Run) -> Iterator[Curve]:
    """CKA (biased) and RSA of every arm with its anchor on z, with both lower bounds, for every source recorded."""
    for arm, spec in run.arms.items():
        for source in SOURCES:
            where = FEATURES[source, "z"]
            group = where.column.partition(".")[0]
            if spec.anchor is None or not run.schedules(where.stream, group):
                continue
            if not run.awaits(where.stream, arm, spec.anchor):
                yield from _of_source(run, arm, spec.anchor, source)


def _of_source(run: Run, arm: str, anchor: str, source: str) -> Iterator[Curve]:
    steps, drifts, values = [], [], []
    where = FEATURES[source, "z"]
    for at, x, y in paired(run, arm, anchor, where):
        steps.append(at)
        drifts.append(relative_drift(y, x))
        values.append((alignment.linear_cka(x, y, debiased=False), alignment.rsa(x, y)))
    moved = Relative(*(torch.cat(parts) for parts in zip(*drifts, strict=True)))
    cka, rsa = (torch.cat(parts) for parts in zip(*values, strict=True))
    n, d = run.row_shape(where.stream, arm, where.column)
    for measure, estimator, value, bounds in (
        ("cka_biased", "biased linear CKA", cka, {"P2": p2_cka(moved.rho), "sharp": sharp_cka(moved.rho_star)}),
        ("rsa", "cosine + Pearson RSA", rsa, {"P2": p2_rsa(moved.r), "sharp": sharp_rsa(moved.r_star)}),
    ):
        measured = Curve(
            measure, arm, anchor, np.concatenate(steps), value.numpy(), n, d, "z", source, where.split, None, estimator,
            "0/0: a representation is constant over the samples",
        )  # fmt: skip
        yield measured
        for name, bound in bounds.items():
            yield replace(
                measured,
                kind="lower bound",
                bound=name,
                values=bound.numpy(),
                estimator=f"{name} corollary, from the measured relative drift of Σ",
                flags=(_VERY[measure],),
            )
