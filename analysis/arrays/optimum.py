"""All measures of class geometry from one pass, each with its value at the optimum of NSCL.

The optimum: minimisers of NSCL on unit-norm z, with classes of equal size and d ≥ C − 1 (Theorem 2 of the first paper).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from analysis.arrays import collapse
from analysis.arrays.classes import Classes
from analysis.arrays.conversion import Array
from analysis.arrays.geometry import cdnv_of, directional_cdnv_of
from coupled.errors import UserError


@dataclass(frozen=True)
class Measure:
    """A number of class geometry: its meaning in a line, and its value at the optimum, a function of C."""

    name: str
    meaning: str
    at_optimum: Callable[[int], float] = lambda _: 0.0


_WIDTH: Final = "squared distance of a class's samples from its centre, over that of two centres"
MEASURES: Final = {
    measure.name: measure
    for measure in (
        Measure("cdnv", f"{_WIDTH}: ½(v_i + v_j)/d², mean over pairs (CDNV, symmetric)"),
        Measure("cdnv_ordered", f"{_WIDTH}: v_i/d² (CDNV, ordered; its mean is that of the symmetric form)"),
        Measure("cdnv_unhalved", f"{_WIDTH}: (v_i + v_j)/d² (CDNV, unhalved)"),
        Measure("directional_cdnv", "the same along the line between the two centres alone"),
        Measure("augmentation_collapse", "squared distance of two views of an image, over that of two images"),
        Measure("within_class_collapse", "share of the variance that lies within classes"),
        Measure("centre_norm", "mean norm of the centres about their mean", lambda _: 1.0),
        Measure("centre_norm_variation", "coefficient of variation of these norms"),
        Measure("centre_offset", "norm of the mean of the centres"),
        Measure("etf_cosine_rms", "root mean square of cosine + 1/(C − 1) over pairs of centres, about their mean"),
        Measure("etf_cosine_largest", "the largest |cosine + 1/(C − 1)| of two centres, about their mean"),
        Measure("effective_rank", "exp of the entropy of the covariance's eigenvalues", lambda C: C - 1.0),
    )
}
_CDNV: Final = {"cdnv": "symmetric", "cdnv_ordered": "ordered", "cdnv_unhalved": "unhalved"}
_ETF: Final = ("centre_norm", "centre_norm_variation", "centre_offset", "etf_cosine_rms", "etf_cosine_largest")


@dataclass(frozen=True)
class ClassGeometry:
    """The measures of MEASURES by name, of n samples of C `classes` in d dimensions; NaN where `undefined` says why.

    `flags`: what keeps such samples from the optimum however they were trained, or leaves a number without meaning.
    """

    n: int
    d: int
    classes: int
    values: Mapping[str, float]
    undefined: Mapping[str, str]
    flags: tuple[str, ...]

    def at_optimum(self, measure: str) -> float:
        """The value of a measure where NSCL has its minimum on unit-norm z."""
        return MEASURES[measure].at_optimum(self.classes)


def class_geometry(h: Array, labels: Array, *, apart: Array | None = None) -> ClassGeometry:
    """All measures of features h (n, d) with labels int (n,): docs/theory.md (55), (56), (75) to (78).

    apart (n,): squared distances of the two augmented views of each sample; without it augmentation collapse is
    undefined. What is undefined (one class, classes with one centre, features that are not finite, variance 0) is NaN
    with its reason. Raises UserError for shapes that do not fit.
    """
    classes = Classes(h, labels, "class geometry")
    squares = None if apart is None else collapse.squared_distances(apart, classes.n)
    values, undefined = dict.fromkeys(MEASURES, math.nan), dict[str, str]()
    for names, of_classes in _parts(classes, squares).items():
        try:
            values |= zip(names, of_classes(), strict=True)
        except UserError as error:
            undefined |= dict.fromkeys(names, str(error))
    if squares is None:
        undefined["augmentation_collapse"] = "no distances of views were given"
    unnamed = [name for name, value in values.items() if math.isnan(value) and name not in undefined]
    undefined |= dict.fromkeys(unnamed, "features that are not finite")
    return ClassGeometry(classes.n, classes.d, classes.count, values, undefined, _flags(classes))


def _parts(classes: Classes, squares: Tensor | None) -> dict[tuple[str, ...], Callable[[], Sequence[float]]]:
    """What computes the measures of these names, each NaN or a UserError where it is undefined."""
    parts: dict[tuple[str, ...], Callable[[], Sequence[float]]] = {
        (name,): lambda form=form: [cdnv_of(classes, form)] for name, form in _CDNV.items()
    }
    parts["directional_cdnv",] = lambda: [directional_cdnv_of(classes)]
    if squares is not None:
        parts["augmentation_collapse",] = lambda: [collapse.augmentation_collapse_of(classes, squares)]
    parts["within_class_collapse",] = lambda: [collapse.within_class_collapse_of(classes)]
    parts[_ETF] = lambda: collapse.simplex_of(classes)
    parts["effective_rank",] = lambda: [collapse.effective_rank_of(classes)]
    return parts


def _flags(classes: Classes) -> tuple[str, ...]:
    flags, (least, most) = [], (int(size) for size in (classes.sizes.min(), classes.sizes.max()))
    if least != most:
        flags.append(f"classes of {least} to {most} samples: the theorem about NSCL assumes equal ones")
    if classes.d < classes.count - 1:
        flags.append(f"d = {classes.d} < C - 1 = {classes.count - 1}: no simplex ETF of {classes.count} centres exists")
    if classes.count == 2:
        flags.append("two centres: their norms about the mean are equal and their cosine is -1 always")
    return tuple(flags)
