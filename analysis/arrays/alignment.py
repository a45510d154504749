"""Alignment of two sets of features, for tensors and arrays: CKA, RSA, neighbours, Procrustes distance, drift.

Shapes: x (…, n, d) and y (…, n, e), the same n samples in both, leading axes are batched. All is float64: a float for
one pair, else what x is, (…). NaN where a measure is undefined or the input is not finite. Features may have any size.
"""

import warnings
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from analysis.arrays import pairwise
from analysis.arrays import similarity_drift as drift
from analysis.arrays.conversion import Array, pair
from analysis.arrays.similarity_drift import SimilarityDrift
from coupled.errors import UserError
from coupled.theory import alignment

MOST_PAIRED: int = 4096  # samples of a measure that holds all pairs: 128 MiB a matrix
_CHUNK_BYTES = 64 << 20
# A hundred times what the tests allow: below it all printed digits hold.
ILL_CONDITIONED = 1e-8


class IllConditionedWarning(UserWarning):
    """The last digits of a value are rounding."""


def linear_cka(x: Array, y: Array, *, debiased: bool = True) -> float | Array:
    """Linear centred kernel alignment.

    debiased (default): range [−1, 1], negative is legal, n ≥ 4 (Song et al. 2012); biased: range [0, 1], n ≥ 2
    (Kornblith et al. 2019). Undefined where a representation is constant over samples. Raises UserError for shapes
    that do not fit.
    """
    a, b = pair(x, y, "linear CKA", 4 if debiased else 2)
    return _like(x, alignment.linear_cka(a, b, debiased=debiased))


def rsa(x: Array, y: Array, *, comparison: str = "pearson") -> float | Array:
    """Correlation of the two cosine-similarity matrices off the diagonal (Kriegeskorte et al. 2008); range [−1, 1].

    comparison: "pearson" (default, any n ≥ 3) or "spearman" (average ranks for ties, 3 ≤ n ≤ 4096). Similarities are
    equal where they differ by rounding alone (`coupled.theory.rounding`). Undefined where all are equal. Raises
    UserError for shapes that do not fit or another comparison; warns with IllConditionedWarning where similarities are
    so nearly equal that rounding reaches the eighth digit (Pearson).
    """
    if comparison not in ("pearson", "spearman"):
        raise UserError(f"comparison = {comparison!r}", 'allowed: "pearson", "spearman"')
    a, b = pair(x, y, "RSA", 3)
    if comparison == "spearman":
        must_pair("Spearman RSA", a.shape[-2])
        return _like(x, in_chunks(pairwise.spearman(), a, b))
    value, error = alignment.rsa_with_error(a, b)
    worst = torch.where(value.isfinite(), error, 0.0).max().item() if value.numel() else 0.0
    if worst > ILL_CONDITIONED:
        warnings.warn(
            f"RSA: similarities are nearly equal, about {max(0, int(-np.log10(worst)))} digits are left; "
            "subtract the mean of the features first, or use linear CKA",
            IllConditionedWarning,
            stacklevel=2,
        )
    return _like(x, value)


def knn_overlap(x: Array, y: Array, *, k: int = 10) -> float | Array:
    """Mean share of a sample's k nearest others, by cosine, that are the same in both; range [0, 1], chance k/(n−1).

    Of equally near ones those of the lowest index are taken. Undefined where all similarities of a representation are
    equal. Raises UserError unless 1 ≤ k ≤ n − 1. Source: mutual k-nearest neighbours, Huh et al. 2024.
    """
    a, b = pair(x, y, "kNN overlap", 2)
    must_have_neighbours(k, a.shape[-2])
    return _like(x, in_chunks(pairwise.knn_overlap(k), a, b))


def procrustes_distance(x: Array, y: Array) -> float | Array:
    """Orthogonal Procrustes distance √(2 − 2‖XᵀY‖_*), X and Y centred and of unit Frobenius norm; range [0, √2].

    The least ‖XQ − Y‖_F over orthogonal Q (Schönemann 1966; the shape distance of Williams et al. 2021, which their
    angular version is the arc of). n ≥ 2. Undefined where a representation is constant over samples. Raises UserError
    for shapes that do not fit.
    """
    a, b = pair(x, y, "Procrustes distance", 2)
    return _like(x, in_chunks(pairwise.procrustes(), a, b))


def similarity_drift(x: Array, y: Array) -> SimilarityDrift:
    """‖Σ_x − Σ_y‖_F of Σ_x = x xᵀ and Σ_y = y yᵀ, rows as given (z is normalised already), and ρ, ρ*, r, r* of both.

    x is the reference: (32) and (33) of docs/theory.md: ρ and r by its norms, ρ* and r* by the larger. Each in [0, ∞);
    exactly 0 for equal inputs; right digits remain where x and y differ in their last ones. Bounds: biased linear CKA
    ≥ √(1−ρ*²), and the correlation of the off-diagonal Σ ≥ √(1−r*²). n ≥ 2. Raises UserError for shapes that do
    not fit.
    """
    a, b = pair(x, y, "similarity drift", 2)
    return SimilarityDrift(*(_like(x, value) for value in drift.similarity_drift(a, b)))  # pyright: ignore[reportArgumentType]


def in_chunks(measure: pairwise.Pairwise, x: Tensor, y: Tensor) -> Tensor:
    """A pairwise measure of x (…, n, d) and y (…, n, e), a few pairs at a time, (…)."""
    n, batch = x.shape[-2], x.shape[:-2]
    x, y = x.reshape(-1, *x.shape[-2:]), y.reshape(-1, *y.shape[-2:])
    size = max(1, _CHUNK_BYTES // (8 * n * max(n, x.shape[-1], y.shape[-1])))
    parts = [
        measure.compare(measure.prepare(a), measure.prepare(b))
        for a, b in zip(x.split(size), y.split(size), strict=True)
    ]
    return torch.cat(parts).reshape(batch)


def must_pair(name: str, n: int) -> None:
    """Raise UserError for more samples than all pairs can be held of."""
    if n > MOST_PAIRED:
        raise UserError(f"{name} of {n} samples", f"at most {MOST_PAIRED}: it holds all pairs", "use a panel of ids")


def must_have_neighbours(k: int, n: int) -> None:
    """Raise UserError where n samples do not have k others each."""
    if not isinstance(k, Integral) or not 1 <= k < n:
        raise UserError(f"k = {k} neighbours of {n} samples", f"whole numbers, 1 to {n - 1} are possible")


def _like(x: Array, value: Tensor) -> float | Array:
    if value.ndim == 0:
        return value.item()
    return value if isinstance(x, Tensor) else value.cpu().numpy()
