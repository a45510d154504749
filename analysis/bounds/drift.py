"""How far the Σ of two arms drift apart on the surrogate panel, the simulated surrogate, and the bounds on that.

Shapes: Σ (2n, 2n) of n samples × 2 fixed views, one full batch of a = 2n slots; curves (T+1,) over steps 0 … T.
Measures: `drift` ‖Σ^arm − Σ^reference‖_F of the true run, `surrogate_drift` of the simulated surrogate; `moved` and
`surrogate_moved` ‖Σ_t − Σ_0‖_F. Bounds are drawn beside `drift`; what they bound is `surrogate_drift`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.bounds.gap import NOT_A_BOUND
from analysis.runs.curve import Curve, Kind
from analysis.runs.run import Run
from coupled.errors import UserError
from coupled.objectives.masks import similarity
from coupled.planning.class_shares import ClassShares, class_shares
from coupled.planning.vacuity import DELTA, Pair, pair_of
from coupled.recording.layout import SHARED
from coupled.theory import bounds
from coupled.theory.learning_rate import learning_rates
from coupled.theory.surrogate import Denominators, Surrogate, denominators, simulate

TRIVIAL: Final = "trivial limit"
BY_STEP, BY_ROW = "measured on the surrogate", "measured on the surrogate, row by row"
DRIFT_BOUNDS: Final = ("paper", "free", "rows", BY_STEP, BY_ROW)


def drift_curves(run: Run, arm: str) -> Iterator[Curve]:
    """Drift of an arm to its reference with all bounds, and how far its own Σ moved; none if not recorded."""
    reference = run.arms[arm].reference
    if not run.schedules("surrogate") or run.awaits("surrogate", SHARED, arm, *([reference] if reference else [])):
        return
    yield from _moved(run, arm, _Sigmas(run, arm))
    if reference is not None:
        yield from _of_pair(run, arm, reference)


class _Sigmas:
    """The recorded Σ of an arm by step, in float64, from its factors z (T, 2n, d)."""

    def __init__(self, run: Run, arm: str) -> None:
        self.steps, values = run.column("surrogate", arm, "state.z")
        if not np.isfinite(values).all():
            raise UserError(f"surrogate/{arm} state.z is not finite", "no drift is defined on it")
        self._z = torch.from_numpy(values.astype(np.float64))

    def at(self, row: int) -> Tensor:
        return similarity(self._z[row])


def _curve(
    run: Run, steps: NDArray[np.int64], values: Tensor, *, measure: str, arm: str, reference: str | None
) -> Curve:
    return Curve(
        measure=measure,
        arm=arm,
        reference=reference,
        steps=steps,
        values=values.numpy().copy(),
        n=2 * run.config.panel.surrogate_size,
        d=run.config.model.projection_dim,
        feature="z",
        source="surrogate",
        split="train",
        labelling=None,
        estimator="Frobenius norm of a difference of Σ = z zᵀ",
        undefined="not finite",
    )


def _moved(run: Run, arm: str, sigmas: _Sigmas) -> Iterator[Curve]:
    if len(sigmas.steps) and sigmas.steps[0] == 0:
        first = sigmas.at(0)
        values = torch.stack([torch.dist(sigmas.at(row), first) for row in range(len(sigmas.steps))])
        yield _curve(run, sigmas.steps, values, measure="moved", arm=arm, reference=None)


def _of_pair(run: Run, arm: str, reference: str) -> Iterator[Curve]:
    measured = run.curve("drift", arm=arm, reference=reference, source="surrogate")
    steps = measured.steps
    limit = np.full(len(steps), bounds.trivial_limit(2 * run.config.panel.surrogate_size))
    trivial = _bound(measured, limit, bound=TRIVIAL, kind="limit", flags=("of two cosine matrices, √2·n",))
    pair = pair_of(run.config, arm)
    if not isinstance(pair, str) and steps[0] != 0:
        pair = "Σ of step 0 is not recorded"
    if isinstance(pair, str):
        yield replace(measured, flags=(f"no surrogate and no bounds: {pair}",))
        yield trivial
        return
    yield measured
    yield trivial
    yield from _bounds(run, pair, measured, _Sigmas(run, pair.cl).at(0), int(steps[-1]))


def _bound(
    of: Curve,
    values: NDArray[np.float64],
    *,
    bound: str,
    kind: Kind,
    flags: tuple[str, ...],
    steps: NDArray[np.int64] | None = None,
) -> Curve:
    at = of.steps if steps is None else steps
    return replace(of, bound=bound, kind=kind, steps=at, values=values, estimator=f"‖ΔΣ‖_F: {bound}", flags=flags)


@dataclass(frozen=True)
class _Panel:
    """The surrogate panel as one full batch: sets, rates η_0 … η_{T−1}, their sums S (T+1,), `mass_bound` (a,)."""

    sets: Denominators
    rates: Tensor
    S: Tensor
    masses: Tensor

    @property
    def anchors(self) -> int:
        return len(self.sets.own)


def _panel(run: Run, pair: Pair, last: int) -> _Panel:
    labels = torch.tensor(run.fixed("surrogate", f"fixed.labels.{pair.labelling}"))
    sets = denominators(labels, cl_positive=pair.cl_positive, ns_positive=pair.ns_positive)
    rates = learning_rates(run.config.optimiser, last, run.config.batches.size)
    masses = bounds.mass_bound(*sets.counts(), pair.temperature)
    return _Panel(sets, rates, bounds.sums(rates), masses)


def _bounds(run: Run, pair: Pair, measured: Curve, start: Tensor, last: int) -> Iterator[Curve]:
    panel, tau = _panel(run, pair, last), pair.temperature
    a, steps = panel.anchors, np.arange(last + 1)
    # Recorded z are unit vectors to float32's rounding only.
    surrogate = simulate(start.clamp(-1, 1), panel.sets, panel.rates, tau, a)
    yield from _simulated(run, pair, steps, surrogate)
    paper, paper_flags = _paper(run, pair, panel)
    fast = bounds.too_large(panel.rates, tau, a)
    slow = () if fast is None else (f"{NOT_A_BOUND} from step {fast}: there η > 4τ²a = {4 * tau**2 * a:g}",)
    always = _assumptions(run)
    for name, values, flags in (
        ("paper", paper.curve(panel.S), paper_flags),
        ("free", bounds.free(panel.S, tau, a), ()),
        ("rows", bounds.rows(panel.rates, panel.masses, tau, a), slow),
        (BY_STEP, surrogate.bound, ()),
        (BY_ROW, surrogate.bound_by_rows, ()),
    ):
        flags = (*_vacuous(values, a), *_exceeded(measured, values), *flags, *always)
        yield _bound(measured, values.numpy().copy(), bound=name, kind="upper bound", flags=flags, steps=steps)


def _simulated(run: Run, pair: Pair, steps: NDArray[np.int64], surrogate: Surrogate) -> Iterator[Curve]:
    estimator = f"simulated: clipped plain descent on Σ at the run's learning rates, tau {pair.temperature:g}"
    drift = _curve(
        run, steps.copy(), surrogate.drift, measure="surrogate_drift", arm=pair.arm, reference=pair.reference
    )
    drift = replace(drift, estimator=estimator)
    yield drift
    limit = bounds.trivial_limit(2 * run.config.panel.surrogate_size, surrogate=True)
    yield _bound(
        drift, np.full(len(steps), limit), bound=TRIVIAL, kind="limit", flags=("of two matrices in [−1, 1], 2n",)
    )
    for arm, other, moved in ((pair.cl, pair.ns, surrogate.moved_cl), (pair.ns, pair.cl, surrogate.moved_ns)):
        curve = _curve(run, steps.copy(), moved, measure="surrogate_moved", arm=arm, reference=other)
        yield replace(curve, estimator=estimator)


def _paper(run: Run, pair: Pair, panel: _Panel) -> tuple[bounds.Paper, tuple[str, ...]]:
    """The bound docs/theory.md (21) for the run's T steps, and the assumptions that it rests on."""
    counts = run.fixed("surrogate", f"fixed.labels.{pair.labelling}")
    own = float(np.bincount(counts).max() / len(counts))
    try:
        shares = class_shares(run.config, pair.labelling)
    except UserError:
        shares = ClassShares(tuple(np.bincount(counts).tolist()), "the panel's own, as the data set is not here")
    n, steps = run.config.panel.surrogate_size, max(run.planned_steps, 1)
    paper = bounds.Paper(
        temperature=pair.temperature,
        anchors=panel.anchors,
        batch_size=n,
        largest_share=shares.largest,
        steps=steps,
        delta=DELTA,
    )
    prior = f"π_max = {shares.largest:.3g} ({shares.known_from})"
    flags = [f"δ = {DELTA:g}, ε = {paper.epsilon:.3f} for {steps} steps of B = {n}; {prior}"]
    if own > paper.share:
        flags.append(f"{NOT_A_BOUND} here: the panel's largest class share is {own:.3g}, above π_max + ε")
    return paper, tuple(flags)


def _vacuous(values: Tensor, a: int) -> tuple[str, ...]:
    step = bounds.vacuity_step(values, bounds.trivial_limit(a, surrogate=True))
    return () if step is None else (f"vacuous from step {step}: above 2n = {2 * a}",)


def _exceeded(measured: Curve, values: Tensor) -> tuple[str, ...]:
    """Where the true run, of which it is no bound, lies above it."""
    above = measured.values > values[measured.steps.tolist()].numpy()
    return (f"the true run's drift is above it at {above.sum()} of {len(above)} recorded steps",) if above.any() else ()


def _assumptions(run: Run) -> tuple[str, ...]:
    """A flag that says what the surrogate is, and in what this run differs from it."""
    optimiser = run.config.optimiser
    differences = ["batch-norm", "weights, not Σ, are what descends"]
    if optimiser.name != "sgd":
        differences.insert(0, {"lars": "LARS", "adamw": "AdamW"}[optimiser.name])
    if optimiser.momentum:
        differences.insert(0, f"momentum {optimiser.momentum:g}")
    if optimiser.weight_decay:
        differences.append(f"weight decay {optimiser.weight_decay:g}")
    if optimiser.clip_norm is not None:
        differences.append(f"clipping at {optimiser.clip_norm:g}")
    differences.append(f"other batches, of {run.config.batches.size}")
    return (f"bounds plain descent on Σ, the panel as one full batch; this run differs: {', '.join(differences)}",)
