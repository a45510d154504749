"""From which step on the a-priori drift bounds of a config say nothing: known before training."""

from dataclasses import dataclass

import torch
from torch import Tensor

from coupled.config import Arm, Config
from coupled.config.traits import objective_of
from coupled.objectives.registry import positive_gap
from coupled.planning.class_shares import ClassShares, class_shares
from coupled.theory import bounds
from coupled.theory.learning_rate import learning_rates

DELTA = 0.05  # docs/theory.md (21) holds with probability 1 − δ


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two arms that the drift bounds are about: same start, batches and τ, one of CL's losses and one of NSCL's.

    `arm` and `reference` as in the config, `cl` and `ns` which of them is which; `labelling` is NSCL's.
    """

    arm: str
    reference: str
    cl: str
    ns: str
    labelling: str
    temperature: float
    cl_positive: bool
    ns_positive: bool


def pair_of(config: Config, arm: str) -> Pair | str:
    """The pair of an arm and its reference, or, in words, why the drift bounds do not apply to them."""
    spec, reference = config.arms[arm], config.arms[arm].reference
    if reference is None:
        return "it has no reference"
    other = config.arms[reference]
    for name, of in ((arm, spec), (reference, other)):
        if of.kind not in ("objective", "twin"):
            return f"{name} does not start where {reference if name == arm else arm} does"
    if spec.temperature != other.temperature:
        return "the two arms have different temperatures"
    cl, ns = sorted((arm, reference), key=lambda name: config.arms[name].objective == "nscl")
    if config.arms[cl].objective not in ("dcl", "nt_xent") or config.arms[ns].objective != "nscl":
        return f"drift bounds are about dcl or nt_xent against nscl, not {spec.objective} against {other.objective}"
    in_cl, in_ns = _positives(config.arms[cl]), _positives(config.arms[ns])
    if in_ns and not in_cl:
        return "nscl's denominator holds the positive and dcl's does not: neither is a part of the other"
    labelling, temperature = config.arms[ns].labelling, spec.temperature
    assert labelling is not None, "nscl needs labels"
    return Pair(
        arm=arm,
        reference=reference,
        cl=cl,
        ns=ns,
        labelling=labelling,
        temperature=temperature,
        cl_positive=in_cl,
        ns_positive=in_ns,
    )


def _positives(arm: Arm) -> bool:
    return positive_gap(objective_of(arm))


def pairs_of(config: Config) -> list[Pair]:
    """The pairs of all arms that have one."""
    return [pair for pair in (pair_of(config, arm) for arm in config.arms) if isinstance(pair, Pair)]


@dataclass(frozen=True)
class Vacuity:
    """The first step at which each bound exceeds the surrogate's trivial limit; None: not within the run."""

    pair: Pair
    shares: ClassShares
    steps: dict[str, int | None]


def vacuities(config: Config) -> list[Vacuity]:
    """For each pair, the bounds of the surrogate panel as one full batch of its data set's class shares."""
    rates = learning_rates(config.optimiser, config.train.steps, config.batches.size)
    S = bounds.sums(rates)
    return [_vacuity(config, pair, rates, S) for pair in pairs_of(config)]


def _vacuity(config: Config, pair: Pair, rates: Tensor, S: Tensor) -> Vacuity:
    n, tau = config.panel.surrogate_size, pair.temperature
    a, shares = 2 * n, class_shares(config, pair.labelling)
    paper = bounds.Paper(tau, a, n, shares.largest, config.train.steps, DELTA)
    curves = {
        "paper": paper.curve(S),
        "free": bounds.free(S, tau, a),
        "rows": bounds.rows(rates, _masses(pair, shares, n), tau, a),
    }
    limit = bounds.trivial_limit(a, surrogate=True)
    return Vacuity(pair, shares, {name: bounds.vacuity_step(curve, limit) for name, curve in curves.items()})


def _masses(pair: Pair, shares: ClassShares, n: int) -> Tensor:
    """The masses that `bounds.rows` takes, (C,): one number a class, which stands for all its anchors."""
    expected = torch.tensor(shares.counts, dtype=torch.float64) * n / shares.size
    # Of n samples that fall as the shares say an anchor's own is one: two of its class's views are its own.
    same = (2 * (expected - 1)).clamp(min=0) + (pair.cl_positive and not pair.ns_positive)
    different = 2 * (n - expected) + pair.ns_positive
    mass = bounds.mass_bound(same, different, pair.temperature)
    return mass * (2 * expected).sqrt()


def shown(vacuity: Vacuity) -> str:
    """One line: "paper 12, free never, rows never"."""
    return ", ".join(
        f"{name} {'never' if step is None else f'from step {step:,}'}" for name, step in vacuity.steps.items()
    )
