"""Class-distance normalised variance: how tight classes are beside the distances between their centres.

Shapes: f (n, d) features, labels (n,), C classes that are present; everything in float64, population moments.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor

from analysis.arrays.conversion import Array, labelled
from coupled.errors import UserError, unknown
from coupled.theory import rounding
from coupled.theory.scale import scaled

# How often v_i + v_j is counted, by the name of the form.
_FORMS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "symmetric": lambda v: (v[:, None] + v[None, :]) / 2,
    "ordered": lambda v: v[:, None].expand(-1, len(v)),
    "unhalved": lambda v: v[:, None] + v[None, :],
}
_CHUNK: Final = 1 << 22  # float64 projections held at a time


def cdnv(h: Array, labels: Array, *, form: str = "symmetric") -> float:
    """Class-distance normalised variance of h (n, d), labels int (n,): mean over ordered pairs of classes i ≠ j, ≥ 0.

    v_i = E‖f − μ_i‖², d_ij = ‖μ_i − μ_j‖. symmetric: ½(v_i + v_j)/d² (Galanti et al. 2022; its mean equals that of
    ordered), ordered: v_i/d², unhalved: (v_i + v_j)/d². Sources: docs/theory.md (55). Classes that are
    absent do not count. NaN for features that are not finite. Raises UserError for another form, shapes that do not
    fit, fewer than two classes, and two classes with one centre.
    """
    if form not in _FORMS:
        raise unknown("form", form, _FORMS)
    classes = _Classes(h, labels, "CDNV")
    variances = classes.mean_of(classes.deviations.square().sum(1))
    return classes.over_pairs(_FORMS[form](variances) / classes.squared_distances)


def directional_cdnv(h: Array, labels: Array) -> float:
    """The same of the variance along the line between the two centres alone: mean over ordered pairs i ≠ j, ≥ 0.

    Ṽ_ij = Var_{x∼i}⟨f − μ_i, u_ij⟩ / d_ij², u_ij the unit vector between the centres: docs/theory.md (56). In
    O(n d C). Otherwise like `cdnv`.
    """
    classes = _Classes(h, labels, "directional CDNV")
    squares = classes.deviations.new_zeros(classes.count, classes.count)
    size = max(1, _CHUNK // classes.count)
    for part, own in zip(classes.deviations.split(size), classes.index.split(size), strict=True):
        # ⟨f − μ_i, μ_i − μ_j⟩ for every class j.
        along = part @ classes.means.T
        along = along.gather(1, own[:, None]) - along
        squares.index_add_(0, own, along.square())
    return classes.over_pairs(squares / classes.sizes[:, None] / classes.squared_distances.square())


class _Classes:
    """The features by class: centres (C, d), deviations from the own one (n, d), squared distances (C, C)."""

    def __init__(self, h: Array, labels: Array, name: str) -> None:
        f, of_rows = labelled(h, labels, name)
        names, index = np.unique(of_rows, return_inverse=True)
        if len(names) < 2:
            raise UserError(f"{name} of {len(names)} classes", "at least two are needed")
        given = scaled(f).double()
        # Distances do not see a shift, and without the common mean the sums keep their digits.
        f = given - given.mean(0)
        self.index = torch.from_numpy(index)
        self.count, self.sizes = len(names), self.index.bincount().double()
        self.means = f.new_zeros(self.count, f.shape[1]).index_add_(0, self.index, f) / self.sizes[:, None]
        self.deviations = f - self.means[self.index]
        self.squared_distances = torch.cdist(self.means, self.means, compute_mode="donot_use_mm_for_euclid_dist") ** 2
        self._check_centres(names, given.norm(dim=1).max(), f.norm(dim=1).max(), name)

    def mean_of(self, values: Tensor) -> Tensor:
        """Mean (C,) over each class of values (n,)."""
        return values.new_zeros(self.count).index_add_(0, self.index, values) / self.sizes

    def over_pairs(self, values: Tensor) -> float:
        """Mean of values (C, C) off the diagonal."""
        off = ~torch.eye(self.count, dtype=torch.bool)
        return values[off].mean().item()

    def _check_centres(self, names: np.ndarray, given: Tensor, spread: Tensor, name: str) -> None:
        """Raises UserError where two centres are no further apart than rounding: of features as given, and of sums."""
        apart = rounding.of_sum(self.sizes[:, None] + self.sizes) * spread + 2 * 2.0**-53 * given
        same = self.squared_distances <= apart.square()
        same.fill_diagonal_(False)
        if same.any():
            i, j = same.nonzero()[0].tolist()
            pair = f"classes {names[i]} and {names[j]} have one centre"
            raise UserError(f"{name}: {pair}", "it is undefined at distance 0", "leave one of them out")
