"""Bounds on the few-shot error of the nearest-centre classifier: the first paper's, the third's, and a tighter one.

The error of a class is the probability that one of its samples lies no nearer to its own centre than to another, each
centre being the mean of m *shots*, drawn independently; the error is the mean over classes: docs/theory.md (91). Bounds
are of population moments, free of scale. Shapes: C classes, P pairs of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from analysis.arrays.pair_moments import PairMoments
from coupled.errors import UserError, unknown

LEAST_A: Final = 5.0  # of the first paper's bound
LEAST_SHOTS: Final = 10  # of the third paper's bound
COUNTED: Final = "counted 1"  # the term of pairs of which a bound says nothing
_NEWTON_STEPS: Final = 10  # from twice the root at most: 8 reach the last digit


@dataclass(frozen=True, eq=False)
class Bound:
    """A bound on the error of one choice among `ways` classes by m `shots` of each; NaN where `undefined` says why.

    C-way: `pairs` (C, C) is what each ordered pair of classes contributes, 0 on the diagonal; `value` is the mean over
    rows of their sums, for cantelli of min(1, sum). Two-way: `pairs` (P,) are the bounds of the pairs that were asked
    for, each of its own theorem, and `value` is their mean. terms: parts of `value`, which sum to it; of a product of
    roots each has its root's part, and of a row that is cut to 1 the part that it had before. a: the a at which p1 is
    least, 0-dimensional or (P,).
    """

    name: str
    ways: int
    shots: int
    value: float
    pairs: Tensor
    terms: Mapping[str, float]
    undefined: str = ""
    flags: tuple[str, ...] = ()
    a: Tensor | None = None

    @property
    def vacuous(self) -> bool:
        """Is it no less than the error of guessing, 1 − 1/ways?"""
        return self.value >= 1 - 1 / self.ways

    @property
    def dominant(self) -> str:
        """The largest term; "" where there is none above 0."""
        name = max(self.terms, key=lambda term: self.terms[term], default="")
        return name if name and self.terms[name] > 0 else ""


def p1(moments: PairMoments, shots: int) -> Bound:
    """The first paper's bound, least over a ≥ 5 with ½ − 2/a − 2^{3/2}/(am) > 0: docs/theory.md (93), (94).

    What a pair contributes bounds nothing by itself. Undefined where two classes have one centre.
    """
    return _c_way("p1", moments, shots)


def p3(moments: PairMoments, shots: int) -> Bound:
    """The third paper's bound, for m ≥ 10: docs/theory.md (95)."""
    return _c_way("p3", moments, shots)


def cantelli(moments: PairMoments, shots: int) -> Bound:
    """A bound for any m ≥ 1, never above `p3`: docs/theory.md (96), (97)."""
    return _c_way("cantelli", moments, shots)


def two_way(name: str, moments: PairMoments, shots: int, pairs: Sequence[tuple[int, int]]) -> Bound:
    """A bound of BOUNDS on the mean error between two classes: over pairs (i, j) of positions of classes, i ≠ j.

    docs/theory.md (98): each pair is a choice of its own between two classes; p1 has an a for each.
    """
    terms, a = _terms(name, moments, shots, alone=True)
    first, second = torch.tensor(pairs).view(-1, 2).T
    of_pairs = {term: (values[first, second] + values[second, first]) / 2 for term, values in terms.items()}
    values = torch.stack(list(of_pairs.values())).sum(0)
    among = torch.zeros_like(moments.one_centre)
    among[first, second] = among[second, first] = True
    return _bound(name, moments, shots, 2, values, values.mean(), {term: v.mean() for term, v in of_pairs.items()},
                  a=None if a is None else a[first, second], among=among)  # fmt: skip


def _c_way(name: str, moments: PairMoments, shots: int) -> Bound:
    terms, a = _terms(name, moments, shots, alone=False)
    pairs = torch.stack(list(terms.values())).sum(0)
    of_rows = pairs.sum(1)
    # A class's error is at most 1: what its row has more is taken off all its terms alike.
    kept = torch.where(of_rows > 1, 1 / of_rows, 1.0) if name == "cantelli" else torch.ones_like(of_rows)
    parts = {term: (kept * values.sum(1)).mean() for term, values in terms.items()}
    value = torch.where(kept < 1, 1.0, of_rows).mean()
    among = torch.ones_like(moments.one_centre)
    return _bound(name, moments, shots, moments.count, pairs, value, parts, a=a, among=among)


def _bound(
    name: str, moments: PairMoments, shots: int, ways: int, pairs: Tensor, value: Tensor, terms: Mapping[str, Tensor],
    *, a: Tensor | None, among: Tensor,
) -> Bound:  # fmt: skip
    """With what a reader must know of the pairs `among` (C, C)."""
    flags, undefined = [], ""
    if name == "p3" and shots < LEAST_SHOTS:
        undefined = f"p3 is a bound from {LEAST_SHOTS} shots on"
    elif not moments.finite:
        undefined = "features that are not finite"
    elif (same := (moments.one_centre & among).triu()).any():
        i, j = same.nonzero()[0].tolist()
        more = int(same.sum()) - 1
        which = f"classes {moments.names[i]} and {moments.names[j]}{f' and {more} more pairs' if more else ''}"
        if name == "p1":
            undefined = f"{which} have one centre: p1 is undefined at distance 0"
        else:
            flags.append(f"{name} counts 1 for {which}, which have one centre")
    if name != "p1" and not undefined and (wide := int((_margins(moments, shots) <= 0)[among].sum())):
        flags.append(f"{name} counts 1 for ordered pairs of classes with 1 + (v_j - v_i)/(m d²) <= 0: {wide}")
    parts = {} if undefined else {term: float(part) for term, part in terms.items()}
    number = math.nan if undefined else float(value)
    return Bound(name, ways, shots, number, pairs, parts, undefined, tuple(flags), a)


def _terms(name: str, moments: PairMoments, shots: int, *, alone: bool) -> tuple[dict[str, Tensor], Tensor | None]:
    """What each ordered pair contributes (C, C), by term, and p1's a. alone: is each pair a choice of its own?"""
    if name not in BOUNDS:
        raise unknown("bound", name, BOUNDS)
    if shots < 1:
        raise UserError(f"{shots} shots", "at least 1 is needed")
    terms, a = _terms_of_p1(moments, shots, alone) if name == "p1" else (_TERMS[name](moments, shots), None)
    undefined = name == "p3" and shots < LEAST_SHOTS
    terms = {term: values * math.nan if undefined else values.fill_diagonal_(0) for term, values in terms.items()}
    return terms, a


def _margins(moments: PairMoments, shots: int) -> Tensor:
    """c_ij = 1 + (v_j − v_i)/(m d_ij²) (C, C): the mean lead of the own centre, over d²."""
    v = moments.variances
    return 1 + (v - v[:, None]) / (shots * moments.distances)


def _terms_of_p1(moments: PairMoments, m: int, alone: bool) -> tuple[dict[str, Tensor], Tensor]:
    ordered, directional = moments.ordered, moments.directional
    slope = ((ordered.sqrt() + ordered) * 2 / math.sqrt(m) + ordered / m) / 4
    if alone:
        averages = [(values + values.T) / 2 for values in (directional, slope)]
    else:
        off = ~torch.eye(moments.count, dtype=torch.bool)
        averages = [values[off].mean() for values in (directional, slope)]
    a, beyond = least(averages[0], averages[1], m)
    # 1/(½ − 2/a − 2^{3/2}/(am)) = 2a/(a − s); where a = s, all directional variances are 0.
    along = torch.where(directional == 0, directional, directional * (2 * a / beyond).square())
    return {"directional": along, "all directions": a * slope}, a


def least(directional: Tensor, slope: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """The a ≥ 5, a ≥ s = 4 + 2^{5/2}/m, at which 4Ṽa²/(a − s)² + Ka is least, and a − s: docs/theory.md (94).

    directional Ṽ and slope K ≥ 0, any shape. The function is convex in a > s. With t = a − s it is least where
    t³ = q(t + s), q = 8sṼ/K: one positive root, which Newton's steps approach from above, where they cannot fail. At
    Ṽ = 0 and s > 5 no a attains the infimum; a = s stands for it.
    """
    s = 4 + 2**2.5 / m
    q = torch.where(slope == 0, slope, 8 * s * directional / slope)
    beyond = q.sqrt() + (s * q) ** (1 / 3)
    for _ in range(_NEWTON_STEPS):
        beyond = torch.where(q == 0, q, (2 * beyond**3 + s * q) / (3 * beyond.square() - q))
    beyond = beyond.clamp(min=max(0.0, LEAST_A - s))
    return s + beyond, beyond


def _terms_of_p3(moments: PairMoments, m: int) -> dict[str, Tensor]:
    ordered, fourth = moments.ordered, moments.fourth
    V = ordered + ordered.T
    theta = (fourth[:, None] + fourth) / moments.distances.square()
    roots = {
        "E1": (4 / m * (V.square() + V / 4)).sqrt(),
        "E2": (V / m).sqrt(),
        "E3": ((theta + 2 * (m - 1) * V.square()) / m**3).sqrt(),
    }
    total, margins = sum(roots.values(), torch.zeros_like(V)), _margins(moments, m)
    pieces = {"directional": 4 * moments.directional, **{name: root * total for name, root in roots.items()}}
    return _counted({name: piece / margins.square() for name, piece in pieces.items()}, moments, margins)


def _terms_of_cantelli(moments: PairMoments, m: int) -> dict[str, Tensor]:
    fourth_power, margins = moments.distances.square(), _margins(moments, m)
    own = moments.traces.diagonal()
    of_norms = (moments.fourth - moments.variances.square()).clamp(min=0) + 2 * (m - 1) * own
    roots = {
        "line of centres": 2 * (moments.directional.T / m).sqrt(),
        "norms of centres": ((of_norms[:, None] + of_norms) / (m**3 * fourth_power)).sqrt(),
    }
    total = sum(roots.values(), torch.zeros_like(margins))
    pieces = {
        "directional": 4 * moments.directional,
        "sample and centres": 4 * (own[:, None] + moments.traces) / (m * fourth_power),
        **{name: root * total for name, root in roots.items()},
    }
    whole = sum(pieces.values(), margins.square())
    return _counted({name: piece / whole for name, piece in pieces.items()}, moments, margins)


def _counted(terms: Mapping[str, Tensor], moments: PairMoments, margins: Tensor) -> dict[str, Tensor]:
    """The terms of pairs of which the theorem speaks; each other pair counts 1."""
    silent = moments.one_centre | (margins <= 0)
    return {**{name: values.masked_fill(silent, 0) for name, values in terms.items()}, COUNTED: silent.double()}


_TERMS: Final[dict[str, Callable[[PairMoments, int], dict[str, Tensor]]]] = {
    "p3": _terms_of_p3,
    "cantelli": _terms_of_cantelli,
}
BOUNDS: Final[dict[str, Callable[[PairMoments, int], Bound]]] = {"p1": p1, "p3": p3, "cantelli": cantelli}
