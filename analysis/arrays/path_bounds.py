"""Bounds on how far two models part, from what a ledger recorded along their own path.

Shapes: T steps, T + 1 states. D is the difference of the weights (reference minus arm), V that of the momentum buffers,
a the part of the gradients' difference that other weights make (instability), b the part that the other loss makes
(objective). All are of all shared weights together, float64. Formulas: docs/theory.md (113) to (117).
"""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# s of (115) over the peak rate: any s > 0 gives a bound, this one was tight where it was tried.
_BUFFER_SCALE = 0.1


@dataclass(frozen=True, kw_only=True)
class Path:
    """What is known of a pair of models at every step from the start, under SGD with one rate for both.

    `rates` η_t (T,); `distance` ‖D_t‖ (T + 1,); `instability` ‖a_t‖, `objective` ‖b_t‖ and `instability_distance`
    ⟨a_t, D_t⟩ (T,); of the momentum buffers `buffer` ‖V_t‖, `buffer_distance` ⟨D_t, V_t⟩ and `buffer_instability`
    ⟨a_t, V_t⟩ (T,), 0 without momentum; `added` (T + 1,): the norm of what nudges and kicks added to D in state t, 0 in
    state 0.
    """

    rates: Floats
    distance: Floats
    instability: Floats
    objective: Floats
    instability_distance: Floats
    buffer: Floats
    buffer_distance: Floats
    buffer_instability: Floats
    added: Floats
    momentum: float
    decay: float

    @property
    def steps(self) -> int:
        return len(self.rates)

    @property
    def smoothness(self) -> Floats:
        """β_t = ‖a_t‖/‖D_t‖ (T,): how far gradients of one loss part for their weights' distance; 0 where D_t = 0."""
        return _over(self.instability, self.distance[:-1])


def along(path: Path) -> Floats:
    """The bound (T + 1,) from ‖a_t‖ and ‖b_t‖ alone: docs/theory.md (113). With momentum it is soon vacuous."""
    growth = path.smoothness + path.decay
    bound, buffer = [path.distance[0]], path.buffer[0] if path.steps else 0.0
    for t in range(path.steps):
        buffer = path.momentum * buffer + growth[t] * bound[-1] + path.objective[t]
        bound.append(bound[-1] + path.rates[t] * buffer + path.added[t + 1])
    return np.array(bound)


def contracted(path: Path) -> Floats:
    """The tighter bound (T + 1,) of SGD without momentum: docs/theory.md (114). AssertionError with momentum, for which
    it is false.
    """
    assert path.momentum == 0, "false with momentum"
    kept, before = 1 - path.rates * path.decay, path.distance[:-1]
    after = kept**2 * before**2 - 2 * kept * path.rates * path.instability_distance
    after += path.rates**2 * path.instability**2
    factors = _over(_root(after), before)
    return _recursion(path.distance[0], factors, path.rates * path.objective + path.added[1:])


def joint(path: Path, scale: float | None = None) -> Floats:
    """The bound (T + 1,) from weights and momentum buffers together, ‖D‖ ≤ (‖D‖² + s²‖V‖²)^½: docs/theory.md (115).

    `scale`: s > 0, by default a tenth of the largest rate.
    """
    s = _BUFFER_SCALE * path.rates.max(initial=0.0) if scale is None else scale
    d, v, a = path.distance[:-1] ** 2, path.buffer**2, path.instability**2
    dv, da, va = path.buffer_distance, path.instability_distance, path.buffer_instability
    mu, decay = path.momentum, path.decay
    pull = mu**2 * v + a + decay**2 * d + 2 * mu * va + 2 * mu * decay * dv + 2 * decay * da  # ‖q‖²
    along_q = mu * dv + da + decay * d  # ⟨D, q⟩
    after = _root(d - 2 * path.rates * along_q + path.rates**2 * pull + s**2 * pull)
    norms = np.sqrt(d + s**2 * v)
    start = norms[0] if path.steps else path.distance[0]
    added = path.objective * np.sqrt(path.rates**2 + s**2) + path.added[1:]
    return _recursion(float(start), _over(after, norms), added)


def exponential(path: Path) -> Floats:
    """The second paper's Theorem 2 as it reads with this path's own constants (T + 1,): docs/theory.md (116).

    Its β and G·min(Δ, 2)/τ are replaced by the largest β_t and ‖b_t‖ of the whole path, so that it is a reading of its
    form, and no promise about another run.
    """
    beta, gamma = path.smoothness.max(initial=0.0), path.objective.max(initial=0.0)
    sums = np.concatenate([[0.0], np.cumsum(path.rates)])
    if gamma == 0 or beta == 0:
        return gamma * sums
    with np.errstate(over="ignore"):
        return gamma / beta * np.expm1(beta * sums)


def first_above(bound: Floats, limit: Floats) -> int | None:
    """The first state at which a bound exceeds what holds anyway; None if it never does."""
    above = np.flatnonzero(bound > limit)
    return int(above[0]) if len(above) else None


def _recursion(start: float, factors: Floats, added: Floats) -> Floats:
    """u_0 = start, u_{t+1} = factor_t·u_t + added_t."""
    steps = zip(factors.tolist(), added.tolist(), strict=True)
    return np.array([*accumulate(steps, lambda u, step: step[0] * u + step[1], initial=start)])


def _over(values: Floats, by: Floats) -> Floats:
    return np.divide(values, by, out=np.zeros_like(values), where=by > 0)


def _root(squares: Floats) -> Floats:
    # A square is a sum of terms that may cancel, to less than nothing by their rounding.
    return np.sqrt(np.maximum(squares, 0.0))
