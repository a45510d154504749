"""The papers' bounds and this project's own: on the loss gap, on the drift of similarities, and on CKA and RSA from it.

Shapes: Σ (A, A) float64 cosines of one batch, A = 2B anchors, view 1 first; sets N_i, N_i⁻, S_i: objectives/masks.py.
Drift bounds are curves (T+1,) over steps 0 … T, from learning rates (T,) and their sums S (T+1,), S_0 = 0; `anchors` is
a, the divisor of the loss: slots (sample, view) of a batch. e^{2/τ} overflows at small τ, so ratios are kept as
logarithms. Numbers in brackets are those of docs/theory.md (11), (14) to (17), (20) to (27), (30) and (34) to (37),
which names the sources.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from coupled.objectives.masks import PairMasks, masked_logsumexp

_SAFE_EXPONENT = 600.0  # e^−600 is a normal number, a hundred orders above float64's smallest


@dataclass(frozen=True)
class GapBounds:
    """The exact loss gap of every anchor of a batch and the bounds on it, (…, A) float64, all ≥ 0.

    `kept` (…, A): anchors with a sample to compare with in the denominator; the others are NaN. `equal` is the gap's
    value where all similarities are equal: no bound.
    """

    kept: Tensor
    gap: Tensor
    per_anchor: Tensor
    tighter: Tensor
    equal: Tensor

    def of_batch(self, index: int) -> "GapBounds":
        """Those of one of many batches."""
        return GapBounds(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))

    def mean(self, values: Tensor) -> float:
        """Mean of one of the fields of one batch over the anchors kept; NaN with none kept."""
        return values[self.kept].mean().item()

    def slack(self, bound: Tensor) -> float:
        """The least of bound − gap over the anchors kept: below 0 the bound is broken. NaN with none kept."""
        left = (bound - self.gap)[self.kept]
        return left.min().item() if len(left) else math.nan


def gap_bounds(
    sigma: Tensor, masks: PairMasks, temperature: float, *, positive_in_denominator: bool = False
) -> GapBounds:
    """(11), (15) to (17): gap_i = ℓ_i^CL − ℓ_i^NSCL of a batch Σ (A, A), or of many (…, A, A), and its bounds.

    D_i is N_i⁻, or N_i⁻ and the positive.

    exact      softplus(LSE_{S_i}(s/τ) − LSE_{D_i}(s/τ))
    per anchor log(1 + |S_i| e^{2/τ}/|D_i|), and without e^{2/τ} the value at equal similarities
    tighter    log(1 + |S_i|/|D_i| · exp((max_{S_i} s − mean_{D_i} s)/τ)), by Jensen's inequality
    """
    sigma = sigma.double()
    logits, same = sigma / temperature, masks.same
    inside = masks.different | _positive_mask(sigma) if positive_in_denominator else masks.different
    count = inside.sum(-1)
    return gap_bounds_of(
        _log_ratio(logits, same, inside, 1 / temperature),
        (same.sum(-1), count),
        highest=torch.where(same, logits, -torch.inf).amax(-1),
        mean=torch.where(inside, logits, 0.0).sum(-1) / count,
        temperature=temperature,
    )


def gap_bounds_of(
    x: Tensor, counts: tuple[Tensor, Tensor], *, highest: Tensor, mean: Tensor, temperature: float
) -> GapBounds:
    """The same from reductions of the rows of Σ/τ, (A,) float64: x_i = LSE_{S_i} − LSE_{D_i}, |S_i| and |D_i|, the
    highest over S_i and the mean over D_i.
    """
    same, inside = counts
    kept, ratio = inside > 0, same.double().log() - inside.double().log()

    def of(x: Tensor) -> Tensor:
        return torch.where(kept, _softplus(x), torch.nan)

    return GapBounds(kept, of(x), of(ratio + 2 / temperature), of(ratio + highest - mean), of(ratio))


def _log_ratio(logits: Tensor, same: Tensor, inside: Tensor, most: float) -> Tensor:
    """LSE_{S_i} − LSE_{D_i} of logits (…, A, A), of which none is beyond ±`most`, (…, A)."""
    if 2 * most > _SAFE_EXPONENT:
        return masked_logsumexp(logits, same) - masked_logsumexp(logits, inside)
    # One exponential for both sums, from the common top: the least term is e^(−2/τ), far from underflow.
    terms = torch.exp(logits - most)
    return torch.where(same, terms, 0.0).sum(-1).log() - torch.where(inside, terms, 0.0).sum(-1).log()


def _positive_mask(sigma: Tensor) -> Tensor:
    B = sigma.shape[-1] // 2
    return torch.eye(B, dtype=torch.bool, device=sigma.device).repeat(2, 2) & ~torch.eye(
        2 * B, dtype=torch.bool, device=sigma.device
    )


def _softplus(x: Tensor) -> Tensor:
    """log(1 + e^x) to the last digit, also far from 0."""
    return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))


def data_set_gap(largest: int, size: int, temperature: float, *, positive_in_denominator: bool = False) -> float:
    """(14): the loss gap over a data set of `size` samples is ≤ log(1 + n_max e^{2/τ}/(N − n_max)).

    Balanced classes: log(1 + e^{2/τ}/(C−1)). With the positive in the denominator N_i⁻ has one view
    more: 2n_max/(2(N − n_max) + 1). Not a bound for mini-batches, unless each is exactly balanced. ∞ for one class.
    """
    other = size - largest + (0.5 if positive_in_denominator else 0.0)
    if other <= 0:
        return math.inf
    return _softplus(torch.tensor(2 / temperature + math.log(largest / other), dtype=torch.float64)).item()


def sums(rates: Tensor) -> Tensor:
    """S of steps 0 … T, (T+1,), from η_0 … η_{T−1}: (20)."""
    return F.pad(rates.double().cumsum(0), (1, 0))


def expansion(rate: float, temperature: float, anchors: int) -> float:
    """By how much one step of plain descent on Σ can spread two matrices: max(1, η/(2τ²a) − 1), (26).

    Each anchor's loss is convex and 1/(2τ²a)-smooth in its row, so the step does not expand while η ≤ 4τ²a.
    """
    return max(1.0, rate / (2 * temperature**2 * anchors) - 1)


def too_large(rates: Tensor, temperature: float, anchors: int) -> int | None:
    """The first step whose update has η > 4τ²a, from where `rows` is no bound; None where all are small enough."""
    return _first(rates > 4 * temperature**2 * anchors)


@dataclass(frozen=True)
class Paper:
    """(21) and (22) at confidence 1 − δ, for all of T steps with batches of B samples; a = `anchors`."""

    temperature: float
    anchors: int
    batch_size: int
    largest_share: float
    steps: int
    delta: float = 0.05

    @property
    def epsilon(self) -> float:
        """ε = sqrt(log(T·a/δ)/(2B)): with probability 1 − δ no batch's class shares exceed the data set's by more."""
        return math.sqrt(math.log(max(self.steps, 1) * self.anchors / self.delta) / (2 * self.batch_size))

    @property
    def share(self) -> float:
        """π_max + ε; from 1 on the bound is vacuous at every step."""
        return self.largest_share + self.epsilon

    @property
    def log_delta(self) -> float:
        """log Δ, Δ = 2e^{2/τ}(π_max+ε)/(1−π_max−ε); ∞ where that is vacuous."""
        if self.share >= 1:
            return math.inf
        return math.log(2) + 2 / self.temperature + math.log(self.share) - math.log1p(-self.share)

    def curve(self, S: Tensor) -> Tensor:
        """exp(S/(2τ²a)) · S/(τ√a) · Δ, like S (T+1,): ∞ where vacuous, and 0 at the shared start."""
        scale = math.log(self.temperature * math.sqrt(self.anchors))
        exponent = S / (2 * self.temperature**2 * self.anchors) - scale + self.log_delta
        return torch.where(S > 0, S * exponent.exp(), 0.0)


def exponential(S: float, temperature: float, anchors: int) -> float:
    """The factor exp(S/(2τ²a)) of (21) alone; ∞ where float64 ends."""
    exponent = S / (2 * temperature**2 * anchors)
    return math.exp(exponent) if exponent < 709 else math.inf


def free(S: Tensor, temperature: float, anchors: int) -> Tensor:
    """(23): √2·S/(τ√a), like S: two softmax rows are at most √2 apart. No probability, no exponential."""
    return math.sqrt(2) * S / (temperature * math.sqrt(anchors))


def mass_bound(same: Tensor, different: Tensor, temperature: float) -> Tensor:
    """The most same-class mass that a softmax of cosines can have: a/(1+a), a = e^{2/τ}|S_i|/|N_i⁻|, in [0, 1]: (24).

    `same` and `different` are counts of what the two denominators do not and do share, any shape. An anchor without
    any other class gives 1: it gets no gradient from NSCL at all.
    """
    return torch.sigmoid(2 / temperature + same.double().log() - different.double().log())


def rows(rates: Tensor, masses: Tensor, temperature: float, anchors: int) -> Tensor:
    """(√2/(τa)) (Σ_i (Σ_{t∋i} η_t m_it)²)^{1/2} over steps, (T+1,), m_it = `mass_bound` at step t: (25).

    `masses` (R,) of rows that are in every batch with the same counts, or (T, R) with 0 where a row is not in the
    batch. Holds for clipped descent with η ≤ 4τ²a (`too_large`).
    """
    scale = math.sqrt(2) / (temperature * anchors)
    if masses.ndim == 1:
        return scale * masses.norm() * sums(rates)
    running = (rates.double()[:, None] * masses).cumsum(0)
    return scale * F.pad(running.norm(dim=1), (1, 0))


def trivial_limit(n: int, *, surrogate: bool = False) -> float:
    """(30): the largest ‖ΔΣ‖_F there is: √2·n for two n×n cosine matrices, 2n for two with entries in [−1, 1]."""
    return 2.0 * n if surrogate else math.sqrt(2) * n


def vacuity_step(bound: Tensor, limit: float) -> int | None:
    """(30): the first index at which a bound, (T+1,) over steps 0 … T, lies above its trivial limit; None if none."""
    return _first(bound > limit)


def _first(true: Tensor) -> int | None:
    return int(true.int().argmax()) if true.any() else None


def p2_cka(drift: Tensor) -> Tensor:
    """(34): CKA ≥ (1−ρ)/(1+ρ), ρ = ‖K−K'‖_F/‖K‖_F of the centred K = HΣH. Any shape; NaN stays NaN."""
    return (1 - drift) / (1 + drift)


def p2_rsa(drift: Tensor) -> Tensor:
    """(35): RSA ≥ (1−r)/(1+r), r = ‖b−a‖/‖a‖ of the centred triangles of the RDMs; −1 for r > 1, where it is
    false. Any shape; NaN stays NaN.
    """
    return torch.where(drift > 1, -1.0, (1 - drift) / (1 + drift))


def sharp_cka(drift: Tensor) -> Tensor:
    """(36): CKA ≥ √(1−ρ*²), ρ* relative to the larger of the two norms; 0 from ρ* = 1 on, as Σ is positive
    semi-definite. Attained where the error is orthogonal to the smaller matrix. Any shape; NaN stays NaN.
    """
    return _cosine(drift, 0.0)


def sharp_rsa(drift: Tensor) -> Tensor:
    """(37): RSA ≥ √(1−r*²), r* relative to the larger of the two norms; −1 from r* = 1 on. NaN stays NaN."""
    return _cosine(drift, -1.0)


def _cosine(drift: Tensor, floor: float) -> Tensor:
    # As a product: 1 − ρ² has no digits left where ρ is nearly 1.
    return torch.where(drift >= 1, floor, ((1 - drift) * (1 + drift)).clamp(min=0).sqrt())


def similarity_error(p: Tensor, q: Tensor, temperature: float, anchors: int) -> Tensor:
    """ε_t of every row (R,): ‖p_i − q_i‖/(τa), p and q (R, A) the softmax rows of the two losses at one Σ: (27)."""
    return (p - q).norm(dim=1) / (temperature * anchors)
