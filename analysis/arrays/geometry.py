"""Class-distance normalised variance: how tight classes are beside the distances between their centres.

Shapes: f (n, d) features, labels (n,), C classes that are present; everything in float64, population moments.
"""

from collections.abc import Callable
from typing import Final

from torch import Tensor

from analysis.arrays.classes import Classes
from analysis.arrays.conversion import Array
from coupled.errors import unknown

# How often v_i + v_j is counted, by the name of the form.
FORMS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "symmetric": lambda v: (v[:, None] + v[None, :]) / 2,
    "ordered": lambda v: v[:, None].expand(-1, len(v)),
    "unhalved": lambda v: v[:, None] + v[None, :],
}


def cdnv(h: Array, labels: Array, *, form: str = "symmetric") -> float:
    """Class-distance normalised variance of h (n, d), labels int (n,): mean over ordered pairs of classes i ≠ j, ≥ 0.

    v_i = E‖f − μ_i‖², d_ij = ‖μ_i − μ_j‖. symmetric: ½(v_i + v_j)/d² (Galanti et al. 2022; its mean equals that of
    ordered), ordered: v_i/d², unhalved: (v_i + v_j)/d². Sources: docs/theory.md (55). Classes that are
    absent do not count. NaN for features that are not finite. Raises UserError for another form, shapes that do not
    fit, fewer than two classes, and two classes with one centre.
    """
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    return cdnv_of(Classes(h, labels, "CDNV"), form)


def directional_cdnv(h: Array, labels: Array) -> float:
    """The same of the variance along the line between the two centres alone: mean over ordered pairs i ≠ j, ≥ 0.

    Ṽ_ij = Var_{x∼i}⟨f − μ_i, u_ij⟩ / d_ij², u_ij the unit vector between the centres: docs/theory.md (56). In
    O(n d C). Otherwise like `cdnv`.
    """
    return directional_cdnv_of(Classes(h, labels, "directional CDNV"))


def cdnv_of(classes: Classes, form: str) -> float:
    """`cdnv` of classes; raises UserError for two with one centre."""
    return classes.over_pairs(FORMS[form](classes.variances) / classes.squared_distances("CDNV"))


def directional_cdnv_of(classes: Classes) -> float:
    """`directional_cdnv` of classes; raises UserError for two with one centre."""
    squared_distances = classes.squared_distances("directional CDNV")
    return classes.over_pairs(variances_along(classes) / squared_distances.square())


def variances_along(classes: Classes) -> Tensor:
    """Var_{x∼i}⟨f − μ_i, μ_i − μ_j⟩ (C, C), at the classes' ordinary size; over d_ij⁴ it is Ṽ_ij."""
    squares = classes.centres.new_zeros(classes.count, classes.count)
    for deviations, own in classes.deviations(classes.count):
        # ⟨f − μ_i, μ_i − μ_j⟩ for every class j.
        along = deviations @ classes.centres.T
        along = along.gather(1, own[:, None]) - along
        squares.index_add_(0, own, along.square())
    return squares / classes.sizes[:, None]
