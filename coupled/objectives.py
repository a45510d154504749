"""Objectives computed from one similarity matrix Σ = z zᵀ, and the exact loss gaps between them.

Shapes and the sets N_i, N_i⁻, S_i: coupled/pairs.py. Every built-in loss of anchor i is the attraction to its positives
and the log of one denominator, which gives other classes weight 1, the own class weight w, the positive weight 0 or 1:

    −s_ip/τ + log( [e^{s_ip/τ}] + Σ_{N_i⁻} e^{s_ij/τ} + w Σ_{S_i} e^{s_ij/τ} )

Every loss is a mean over all A anchors, also when some are skipped: otherwise the positive gradients of two arms would
stop cancelling. Formulas: P1 (arXiv 2506.04411), P2 (arXiv 2510.08852), SimCLR (Chen et al. 2020, NT-Xent) and
Khosla et al. 2020 (L_out). The homotopy is this project's own.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from coupled.errors import UserError, unknown
from coupled.pairs import Pairs, masked_logsumexp, pairs, positives, similarity

# N: all other samples, N-: those of another class, S: those of the same class. In the order that help shows.
OBJECTIVES: dict[str, str] = {
    "dcl": "contrastive, positive not in the denominator: -s_ip/τ + log Σ_N e^{s/τ}",
    "nt_xent": "SimCLR's: -s_ip/τ + log( e^{s_ip/τ} + Σ_N e^{s/τ} )",
    "nscl": "negatives of other classes only: -s_ip/τ + log( [e^{s_ip/τ}] + Σ_N- e^{s/τ} )",
    "homotopy": "from nscl (lam = 0) to dcl (lam = 1): -s_ip/τ + log( [e^{s_ip/τ}] + Σ_N- e^{s/τ} + lam Σ_S e^{s/τ} )",
    "scl": "supervised contrastive, L_out: mean over p of the same label of -s_ip/τ + log Σ_{a≠i} e^{s_ia/τ}",
    "ce": "cross-entropy of a linear classifier on z; not a function of the similarities",
}
NEEDS_LABELS = frozenset({"nscl", "homotopy", "scl", "ce"})
_TAKE_POSITIVE = ("nscl", "homotopy")

UserObjective = Callable[[Tensor, Tensor, float], Tensor]
_REGISTERED: dict[str, UserObjective] = {}


@dataclass(frozen=True)
class Objective:
    """What an arm minimises, temperature and labelling aside: a name of `known()` and the options that it takes.

    `positive_in_denominator`: nscl and homotopy only. `lam`: λ in [0, 1], for homotopy only, which needs it.
    """

    name: str
    positive_in_denominator: bool = False
    lam: float | None = None


def register_objective(name: str) -> Callable[[UserObjective], UserObjective]:
    """Decorator that makes a function an objective, known by `name` for the life of the process.

    The function takes Σ (A, A), float32 or float64, labels int64 (B,), and τ, and returns the losses of the anchors
    (A,) or their mean, 0-d, differentiable in Σ. It draws nothing at random. A file that runs again replaces its own.
    Raises UserError for a name that is not made of letters, digits, '_' and '-', or is taken.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UserError(f"objective name {name!a}", "letters, digits, '_' and '-'")

    def register(function: UserObjective) -> UserObjective:
        if name in OBJECTIVES or (name in _REGISTERED and _origin(_REGISTERED[name]) != _origin(function)):
            raise UserError(f"objective name {name}", "it is taken", "choose another")
        _REGISTERED[name] = function
        return function

    return register


def _origin(function: UserObjective) -> str | None:
    """Where a function was written: its file; all cells of a notebook are one place."""
    module = getattr(function, "__module__", None)
    return module if module == "__main__" else getattr(getattr(function, "__code__", None), "co_filename", module)


def forget(name: str) -> None:
    """Take back a registration, if there is one."""
    _REGISTERED.pop(name, None)


def known(*, built_in: bool = False) -> list[str]:
    """The names of all objectives: built-in ones, then (unless `built_in`) registered ones in their order."""
    return [*OBJECTIVES] if built_in else [*OBJECTIVES, *_REGISTERED]


def is_function_of_sigma(name: str) -> bool:
    """Can the objective be evaluated on any Σ? ce cannot: it needs its own classifier."""
    return name != "ce"


def positive_gap(objective: Objective) -> bool:
    """Does its denominator hold the positive, so that the gap with the positive is its own? nt_xent; nscl and homotopy
    with the flag. (scl holds it too, but no other loss differs from scl by a same-class sum alone.)
    """
    return objective.name == "nt_xent" or (objective.name in _TAKE_POSITIVE and objective.positive_in_denominator)


def validate(objective: Objective, where: str) -> None:
    """Raise UserError for an unknown name, an option that the objective does not take, or λ missing or outside [0, 1].

    `where` stands before the key in the message: "arms.x." for a config, "" for a call.
    """
    name, lam = objective.name, objective.lam
    if name not in known():
        raise unknown(f"{where}objective", name, known())
    if objective.positive_in_denominator and name not in _TAKE_POSITIVE:
        do = {
            "dcl": 'use objective = "nt_xent": it is dcl with the positive in the denominator',
            "nt_xent": "remove it: the positive is in its denominator already",
        }
        allowed = "only nscl and homotopy take it"
        raise UserError(f"{where}positive_in_denominator for {name}", allowed, do.get(name, "remove it"))
    if name != "homotopy" and lam is not None:
        raise UserError(f"{where}lam = {lam} for {name}", "only homotopy takes it", "remove it")
    if name != "homotopy":
        return
    if lam is None:
        raise UserError(f"{where}lam is missing", "homotopy needs 0 ≤ lam ≤ 1", "0 is nscl, 1 is dcl")
    if isinstance(lam, bool) or not isinstance(lam, int | float) or not 0 <= lam <= 1:
        raise UserError(f"{where}lam = {lam}", "a number with 0 ≤ lam ≤ 1", "0 is nscl, 1 is dcl")


def _same_class_weight(objective: Objective) -> float:
    """w, the weight of S_i in the denominator."""
    if objective.name == "homotopy":
        assert objective.lam is not None
        return objective.lam
    return 0.0 if objective.name == "nscl" else 1.0


def _losses(objective: Objective, negatives: Tensor, positive: Tensor, logits: Tensor, masks: Pairs) -> Tensor:
    """ℓ_i (A,) of a built-in objective, of the log denominator without the positive, and s_ip/τ; in their precision.

    The positive in the denominator turns x = negatives − positive into log(1 + e^x), which keeps its digits where the
    positive is far ahead.
    """
    x = negatives - positive
    if objective.name == "scl":
        # Khosla's positives are the other view and S_i.
        own = torch.where(masks.same, logits, 0.0).sum(1, dtype=x.dtype) + positive
        return F.softplus(x, threshold=40.0) + positive - own / (masks.same.sum(1) + 1)
    if positive_gap(objective):
        return F.softplus(x, threshold=40.0)
    return x if _same_class_weight(objective) else torch.where(masks.kept, x, 0.0)


def _values(objective: Objective, sigma: Tensor, masks: Pairs, temperature: float) -> Tensor:
    """ℓ_i of every anchor (A,), or the 0-d mean that a registered objective may return instead."""
    if objective.name in _REGISTERED:
        return _user_values(objective.name, sigma, masks.labels, temperature)
    assert objective.name in OBJECTIVES and is_function_of_sigma(objective.name), objective
    logits, weight = sigma / temperature, _same_class_weight(objective)
    if weight in (0, 1):
        negatives = masked_logsumexp(logits, masks.others if weight else masks.different)
    else:
        # One logsumexp over weighted terms costs half of two.
        negatives = masked_logsumexp(torch.add(logits, masks.same, alpha=math.log(weight)), masks.others)
    return _losses(objective, negatives, positives(logits), logits, masks)


def _user_values(name: str, sigma: Tensor, labels: Tensor, temperature: float) -> Tensor:
    # Copies: what a user's function writes into its arguments must not reach the records or another arm.
    try:
        values = _REGISTERED[name](sigma.clone(), labels.clone(), temperature)
    except UserError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {next(iter(str(error).splitlines()), 'no message')}"
        raise UserError(f"objective {name} fails", said, "try it on a small sigma by itself") from error
    if not isinstance(values, Tensor) or values.shape not in ((), (len(sigma),)) or not values.is_floating_point():
        found = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise UserError(f"objective {name} returned {found}", f"losses ({len(sigma)},), or their mean, 0-d, is needed")
    if torch.is_grad_enabled() and sigma.requires_grad and not values.requires_grad:
        raise UserError(f"objective {name} returned a value without gradient", "it must be differentiable in sigma")
    return values


def try_out(objective: Objective, temperature: float) -> None:
    """Evaluate a registered objective once, with gradient, on four samples of two classes: UserError if it fails."""
    if objective.name in _REGISTERED:
        sigma = torch.eye(8).mul_(0.5).add_(0.5).requires_grad_()
        batch_loss(objective, sigma, pairs(torch.arange(4) % 2), temperature).backward()


def per_anchor(objective: Objective, sigma: Tensor, masks: Pairs, temperature: float) -> Tensor:
    """ℓ_i of every anchor, (A,), in Σ's precision (float32 or better) and differentiable in Σ. Formulas: OBJECTIVES.

    nscl, and homotopy with λ = 0, without the positive in the denominator: an anchor with no negatives has value and
    gradient 0. The mean that a registered objective returned stands at every anchor.
    """
    return _values(objective, sigma, masks, temperature).expand(len(sigma))


def batch_loss(objective: Objective, sigma: Tensor, masks: Pairs, temperature: float) -> Tensor:
    """Mean of `per_anchor` over all A anchors, 0-d: what an arm minimises."""
    return _mean(_values(objective, sigma, masks, temperature))


def _mean(values: Tensor) -> Tensor:
    return values if values.ndim == 0 else values.sum() / len(values)


def loss(
    name: str,
    z: Tensor,
    labels: Tensor | None,
    temperature: float,
    *,
    positive_in_denominator: bool = False,
    lam: float | None = None,
) -> Tensor:
    """The objective `name` of z (2B, d), view 1 first, used as given (not re-normalised); labels (B,) integers.

    Scalar in z's precision or float32, whichever is better; mean over the 2B anchors. `dcl` and `nt_xent` take no
    labels and ignore them (None is fine). Raises UserError for an unknown objective, `ce`, options it does not take or
    lacks, τ that is not positive and finite, B = 1, or labels that do not fit.
    """
    objective = Objective(name, positive_in_denominator, lam)
    validate(objective, "")
    if not is_function_of_sigma(name):
        do = f'train an arm of kind = "objective" with objective = "{name}": it has the classifier head'
        raise UserError(f"objective {name}", "it is not a function of the similarities of z", do)
    if not (temperature > 0 and math.isfinite(temperature)):
        raise UserError(f"temperature {temperature}", "a positive finite number")
    if z.ndim != 2 or len(z) % 2 or len(z) < 4 or not z.is_floating_point():
        found = f"z of shape {tuple(z.shape)} and {z.dtype}"
        raise UserError(found, "floats (2B, d) with B ≥ 2: there are no negatives otherwise")
    z = z.float() if z.dtype.itemsize < 4 else z
    return batch_loss(objective, similarity(z), pairs(_labels(name, labels, z)), temperature)


def _labels(name: str, labels: Tensor | None, z: Tensor) -> Tensor:
    """Labels int64 (B,) on z's device; made up where the objective takes none."""
    B = len(z) // 2
    if name in ("dcl", "nt_xent"):
        return torch.arange(B, device=z.device)
    if labels is None or labels.shape != (B,) or labels.is_floating_point():
        found = "None" if labels is None else f"{tuple(labels.shape)} of {labels.dtype}"
        raise UserError(f"labels for {name}: {found}", f"({B},) integers are needed")
    return labels.to(z.device, torch.int64)


@dataclass(frozen=True)
class Evaluation:
    """Losses and exact loss gaps of one Σ, as 0-d float64 tensors.

    `losses` by objective (means over all A anchors). `gap` the mean over kept anchors of ℓ^dcl − ℓ^nscl ≥ 0, `mass`
    that of the same-class mass p ∈ [0, 1], `skipped` the number of anchors left out of both; with none kept both are
    NaN: there is nothing to average. `gap_with_positive`, `mass_with_positive`: the same with the positive in both
    denominators (ℓ^nt_xent − ℓ^nscl), where every anchor is kept.
    """

    losses: dict[Objective, Tensor]
    gap: Tensor
    mass: Tensor
    skipped: Tensor
    gap_with_positive: Tensor
    mass_with_positive: Tensor


@torch.no_grad()
def evaluate(sigma: Tensor, masks: Pairs, temperature: float, objectives: Sequence[Objective]) -> Evaluation:
    """The losses of `objectives`, loss gaps and same-class masses on one Σ for the price of two masked logsumexps.

    gap_i = softplus(x_i), p_i = sigmoid(x_i), x_i = LSE_{S_i}(s/τ) − LSE_{N_i⁻}(s/τ), N_i⁻ ∪ positive for the gap with
    the positive (exact; theory of P1 Theorem 1). scl adds a masked sum over Σ; a registered objective is called once.
    """
    logits, kept = sigma / temperature, masks.kept
    positive = positives(logits).double()
    same = masked_logsumexp(logits, masks.same).double()
    different = masked_logsumexp(logits, masks.different).double()

    def loss_of(objective: Objective) -> Tensor:
        if objective.name in _REGISTERED:
            return _mean(_values(objective, sigma, masks, temperature).double())
        weight = _same_class_weight(objective)
        negatives = torch.logaddexp(same + math.log(weight), different) if weight else different
        return _mean(_losses(objective, negatives, positive, logits, masks))

    assert all(is_function_of_sigma(objective.name) for objective in objectives), objectives
    losses = {objective: loss_of(objective) for objective in dict.fromkeys(objectives)}
    # Where N_i⁻ is empty x_i would be +∞; those anchors are left out below.
    x = torch.where(kept, same - different, 0.0)
    x_with_positive = same - torch.logaddexp(different, positive)
    count = kept.double().sum()
    return Evaluation(
        losses,
        gap=(F.softplus(x, threshold=40.0) * kept).sum() / count,
        mass=(torch.sigmoid(x) * kept).sum() / count,
        skipped=len(sigma) - count,
        gap_with_positive=F.softplus(x_with_positive, threshold=40.0).mean(),
        mass_with_positive=torch.sigmoid(x_with_positive).mean(),
    )
