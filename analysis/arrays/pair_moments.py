"""Moments of every two classes of labelled features: all that the bounds on few-shot error are made of.

Shapes: f (n, d) features, labels (n,), C classes that are present; everything in float64, population moments.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.arrays.classes import Classes
from analysis.arrays.conversion import Array
from analysis.arrays.geometry import variances_along

_HELD: Final = 1 << 24  # float64 numbers of covariances that are held at once


@dataclass(frozen=True, eq=False)
class PairMoments:
    """Moments of C classes with the labels `names`, docs/theory.md (92). [i, j]: of class i as seen from class j.

    variances v_i (C,); fourth E‖f − μ_i‖⁴ (C,); squared_distances ‖μ_i − μ_j‖² (C, C), 0 where two classes have one
    centre; directional Ṽ_ij (C, C), NaN there and 0 on the diagonal; traces tr(Σ_iΣ_j) (C, C). Lengths are those of
    features at an ordinary size (coupled/theory/scale.py): ratios of lengths alone have a meaning.
    """

    names: NDArray[Any]
    variances: Tensor
    fourth: Tensor
    squared_distances: Tensor
    directional: Tensor
    traces: Tensor

    @property
    def count(self) -> int:
        return len(self.variances)

    @cached_property
    def one_centre(self) -> Tensor:
        """Which two classes have one centre, bool (C, C), False on the diagonal."""
        return (self.squared_distances == 0).fill_diagonal_(False)

    @cached_property
    def finite(self) -> bool:
        return bool(self.variances.isfinite().all())

    @cached_property
    def distances(self) -> Tensor:
        """`squared_distances`, NaN where they are 0."""
        return torch.where(self.squared_distances == 0, torch.nan, self.squared_distances)

    @cached_property
    def ordered(self) -> Tensor:
        """V_ij = v_i/d_ij² (C, C), NaN on the diagonal and where two classes have one centre."""
        return self.variances[:, None] / self.distances


def pair_moments(h: Array, labels: Array) -> PairMoments:
    """The moments of features h (n, d), labels int (n,). NaN for features that are not finite.

    In O(n d min(n, d) + C² min(n, d)²), in as much memory as `Samples` and some 128 MB. Raises UserError for shapes
    that do not fit and for fewer than two classes.
    """
    classes = Classes(h, labels, "few-shot moments")
    classes.check_several("few-shot moments")
    fourth = classes.variances.new_zeros(classes.count)
    for deviations, own in classes.deviations():
        fourth.index_add_(0, own, deviations.square().sum(1).square())
    squared_distances = classes.squared_distances_or_0
    directional = variances_along(classes) / squared_distances.square()
    directional.masked_fill_(classes.one_centre, float("nan")).fill_diagonal_(0)
    return PairMoments(
        names=classes.names,
        variances=classes.variances,
        fourth=fourth / classes.sizes,
        squared_distances=squared_distances,
        directional=directional,
        traces=traces(classes),
    )


def traces(classes: Classes) -> Tensor:
    """tr(Σ_iΣ_j) (C, C), by whichever is less work: covariances, or products of samples."""
    n, d, count = classes.n, classes.d, classes.count
    return by_covariances(classes) if (n + count**2) * d <= n**2 else by_products(classes)


def by_covariances(classes: Classes) -> Tensor:
    """The traces as Σ_kl (Σ_i)_kl (Σ_j)_kl, some rows k of all covariances at a time."""
    count, d = classes.count, classes.d
    sums, size = classes.centres.new_zeros(count, count), max(1, min(d, _HELD // (count * d)))
    for start in range(0, d, size):
        some = slice(start, min(start + size, d))
        covariances = classes.centres.new_zeros(count, some.stop - start, d)
        for deviations, own in classes.deviations():
            for label in own.unique().tolist():
                of_class = deviations[own == label]
                covariances[label].addmm_(of_class[:, some].T, of_class)
        rows = covariances.div_(classes.sizes[:, None, None]).flatten(1)
        sums += rows @ rows.T
    return sums


def by_products(classes: Classes) -> Tensor:
    """The traces as Σ_{x in i, y in j} ⟨x − μ_i, y − μ_j⟩²/(n_i n_j), a block of samples against another at a time."""
    sums = classes.centres.new_zeros(classes.count, classes.count)
    for first, of_first in classes.deviations():
        for second, of_second in classes.deviations(max(len(first), classes.count)):
            squares = (first @ second.T).square_()
            by_class = squares.new_zeros(classes.count, len(second)).index_add_(0, of_first, squares)
            sums.index_add_(1, of_second, by_class)
    return sums / (classes.sizes[:, None] * classes.sizes)
