"""How far features are from the collapse that minimisers of NSCL show: numbers that have a known value there.

The theorem (Theorem 2 of the first paper) is about unit-norm z, classes of equal size and d ≥ C − 1: both views of a
sample are one point, all samples of a class are one point, and the C points are a simplex ETF. About h it says nothing.

Shapes: f (n, d) features, labels (n,), C classes that are present; everything in float64, population moments.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from analysis.arrays.classes import Classes, Samples
from analysis.arrays.conversion import Array, numbers
from coupled.errors import UserError
from coupled.theory import rounding
from coupled.theory.scale import shifted


class Simplex(NamedTuple):
    """The centres of classes beside a simplex ETF, whose centres have their mean at 0, one norm, and one cosine.

    Norms and cosines are those of μ_c − m, m the mean of the centres; at the optimum m = 0, and they are those of μ_c.
    """

    norm: float  # mean ‖μ_c − m‖; 1 at the optimum
    norm_variation: float  # coefficient of variation of these norms; 0 at the optimum
    offset: float  # ‖m‖; 0 at the optimum
    cosine_rms: float  # root mean square, over pairs, of cosine + 1/(C − 1); 0 at the optimum
    cosine_largest: float  # the largest |cosine + 1/(C − 1)|; 0 at the optimum


def augmentation_collapse(apart: Array, features: Array) -> float:
    """Mean squared distance of two views of a sample over that of two samples: E‖f − f'‖² / (2 tr Σ_T), ≥ 0.

    apart (n,): ‖f − f'‖² of the two augmented views of each sample; features (n, d): of the samples un-augmented. 0 at
    NSCL's optimum, about 1 where views of one sample are no closer than those of two: docs/theory.md (75). NaN for
    numbers that are not finite. Raises UserError for negative `apart`, shapes that do not fit, and variance 0.
    """
    samples = Samples.of(features, "augmentation collapse")
    return augmentation_collapse_of(samples, squared_distances(apart, samples.n))


def within_class_collapse(h: Array, labels: Array) -> float:
    """The share of the variance that lies within classes: tr Σ_W / tr Σ_T, in [0, 1]; docs/theory.md (76).

    0 at NSCL's optimum, 1 where all classes have one centre. Features h (n, d), labels int (n,). NaN for features that
    are not finite. Raises UserError for shapes that do not fit, fewer than two classes, and variance 0.
    """
    return within_class_collapse_of(Classes(h, labels, "within-class collapse"))


def simplex_deviation(h: Array, labels: Array) -> Simplex:
    """How far the centres of classes are from a simplex ETF: docs/theory.md (77). Features h (n, d), labels int (n,).

    All NaN for features that are not finite. Raises UserError for shapes that do not fit, fewer than two classes, and
    a class whose centre is the mean of the centres. Two centres have the cosine −1 always.
    """
    return simplex_of(Classes(h, labels, "simplex ETF"))


def effective_rank(h: Array) -> float:
    """exp of the entropy of the covariance's eigenvalues over their sum, in [1, min(n − 1, d)]; docs/theory.md (78).

    C − 1 at NSCL's optimum. Features h (n, d). NaN for features that are not finite. Raises UserError for another
    shape, and for variance 0.
    """
    return effective_rank_of(Samples.of(h, "effective rank"))


def squared_distances(apart: Array, n: int) -> Tensor:
    """Squared distances of views (n,), float64; UserError for other shapes and for negative ones."""
    name = "augmentation collapse"
    squares = numbers(apart, name).cpu().double()
    if squares.shape != (n,):
        raise UserError(f"{name} of squared distances {tuple(squares.shape)}", f"({n},) is needed, one for each sample")
    if bool((squares < 0).any()):
        raise UserError(f"{name} of negative squared distances", "numbers of at least 0 are needed")
    return squares


def augmentation_collapse_of(samples: Samples, squares: Tensor) -> float:
    """`augmentation_collapse` of samples and squared distances (n,)."""
    variance = samples.variance("augmentation collapse")
    return (shifted(squares, -2 * samples.exponent).mean() / (2 * variance)).item()


def within_class_collapse_of(classes: Classes) -> float:
    """`within_class_collapse` of classes."""
    classes.check_several("within-class collapse")
    classes.variance("within-class collapse")
    within = (classes.sizes * classes.variances).sum()
    between = (classes.sizes * classes.centres.square().sum(1)).sum()
    return (within / (within + between)).item()


def simplex_of(classes: Classes) -> Simplex:
    """`simplex_deviation` of classes."""
    name = "simplex ETF"
    classes.check_several(name)
    mean = classes.centres.mean(0)
    rays = classes.centres - mean
    norms = rays.norm(dim=1)
    least = rounding.of_sum(classes.sizes) * classes.spread + classes.rounding_of_rows
    if bool((norms <= least).any()):
        centre = f"the centre of class {classes.names[int((norms <= least).nonzero()[0])]} is the mean of all centres"
        raise UserError(f"{name}: {centre}", "a cosine is undefined at norm 0")
    unit = rays / norms[:, None]
    cosines = (unit @ unit.T)[torch.ones(classes.count, classes.count, dtype=torch.bool).triu(1)]
    off = cosines + 1 / (classes.count - 1)
    length, offset = classes.given_size(torch.stack([norms.mean(), (mean + classes.mean).norm()])).tolist()
    variation = (norms.std(correction=0) / norms.mean()).item()
    return Simplex(length, variation, offset, off.square().mean().sqrt().item(), off.abs().max().item())


def effective_rank_of(samples: Samples) -> float:
    """`effective_rank` of samples."""
    samples.variance("effective rank")
    if not samples.finite:
        return math.nan
    # Both matrices have the same eigenvalues but for zeros, which have no entropy.
    matrix = _covariance(samples) if samples.d <= samples.n else _gram(samples)
    values = torch.linalg.eigvalsh(matrix).clamp(min=0)
    shares = values / values.sum()
    return torch.special.entr(shares).sum().exp().item()


def _covariance(samples: Samples) -> Tensor:
    sums = samples.mean.new_zeros(samples.d, samples.d)
    for part, _ in samples.parts():
        sums.addmm_(part.T, part)
    return sums


def _gram(samples: Samples) -> Tensor:
    rows = torch.cat([part for part, _ in samples.parts()])
    return rows @ rows.T
