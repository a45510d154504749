"""How fast weights diverge: growth exponents in named windows, and whether growth is exponential at all.

Formulas: docs/theory.md (63) to (65).

Shapes: T recorded steps, L layers. S_t = Σ_{s<t} η_s is the cumulative learning rate, by the config's schedule: the
recorded column `batch.learning_rate` is the same to the bit, but need not be recorded at every step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.divergence.layers import layers
from analysis.runs.controls import arms_with_reference, is_twin
from analysis.runs.run import Run
from analysis.statistics.slopes import LEAST_POINTS, slopes
from coupled.errors import UserError
from coupled.theory.learning_rate import learning_rate

Array = NDArray[np.float64]

DECIDED: Final = 10.0  # AIC: "essentially no support" for the worse model (Burnham and Anderson 2002)


class Window(NamedTuple):
    """Steps first … last, both included, under a name."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The growth of one distance ‖D_t‖ in one window of steps. NaN is undefined: `undefined` says why, else it is "".

    `layer` is None for all shared weights. `first`, `last` are the first and last step used, `n` how many, `s_first`,
    `s_last` the cumulative learning rates there. `exponent` is the slope of log‖D‖ over S (per unit of cumulative
    learning rate) with its 95 % interval `low` … `high`, `autocorrelation` what that interval allows for (see
    `analysis.statistics.slopes`). `doubling_steps` is log 2/exponent at the window's mean learning rate; NaN too where
    the interval holds 0. `power` is the slope of log‖D‖ over log S, the alternative; `r2` and `aic` of either
    fit are of the same points.
    """

    arm: str
    reference: str
    layer: str | None
    window: str
    first: int
    last: int
    n: int
    s_first: float
    s_last: float
    undefined: str
    exponent: float = math.nan
    low: float = math.nan
    high: float = math.nan
    autocorrelation: float = math.nan
    doubling_steps: float = math.nan
    r2: float = math.nan
    aic: float = math.nan
    power: float = math.nan
    power_r2: float = math.nan
    power_aic: float = math.nan

    @property
    def better(self) -> str:
        """ "exponential" or "power law" if AIC tells them apart by more than `DECIDED`, else "undecided".

        Autocorrelated errors make AIC too sure of itself, hence the high mark. "" where undefined.
        """
        if self.undefined:
            return ""
        ahead = self.power_aic - self.aic
        return "exponential" if ahead > DECIDED else "power law" if ahead < -DECIDED else "undecided"


def growth(run: Run, *, windows: Sequence[tuple[int, int]] = (), per_layer: bool = False) -> list[Growth]:
    """Growth of every arm with a reference but exact twins, in the windows early, late and each of `windows`.

    early: from the first recorded step after the first update with D > 0 (before, D is given to the run and not
    grown by it) to the first at which D reaches half its maximum; late: from there to the end. Of an unfinished run
    maximum and end are those so far. `windows` are (first, last) steps, 1 ≤ first < last. With `per_layer`, every layer
    in the windows of the arm's global distance. Raises UserError for a window outside the run and for what the run does
    not record (`scalars`, or `layers`).
    """
    for first, last in windows:
        check_window(first, last)
        if last > run.planned_steps:
            raise UserError(f"window {first}:{last}", f"{run.path} has {run.planned_steps} steps", "end it there")
    rate = cumulative_rate(run)
    return [
        fitted
        for arm in arms_with_reference(run)
        if not is_twin(run, arm)
        for fitted in _of_arm(run, arm, rate, windows, per_layer)
    ]


def check_window(first: int, last: int) -> None:
    """UserError unless 1 ≤ first < last: log S needs an update, a slope two steps."""
    if not 1 <= first < last:
        raise UserError(f"window {first}:{last}", "a window is FIRST:LAST with 1 <= FIRST < LAST", "such as 1:20")


def cumulative_rate(run: Run) -> Array:
    """S_t = Σ_{s<t} η_s of the config's schedule, float64 (train.steps + 1,), S_0 = 0."""
    config = run.config
    rates = [learning_rate(config.optimiser, step, config.batches.size) for step in range(run.planned_steps)]
    return np.concatenate([[0.0], np.cumsum(rates)])


def named_windows(steps: NDArray[np.int64], distance: Array) -> list[Window]:
    """early and late of a global distance (T,) at steps (T,); none if it is nowhere above 0 after the first update."""
    grown = np.flatnonzero((steps >= 1) & (distance > 0))
    if not len(grown):
        return []
    half = grown[distance[grown] >= distance[grown].max() / 2][0]
    border = int(steps[half])
    return [Window("early", int(steps[grown[0]]), border), Window("late", border, int(steps[-1]))]


def fit(rate: Array, distances: Array) -> list[dict[str, float]] | str:
    """The fitted fields of `Growth` for each column of distances (n, L) > 0 at S = rate (n,), or why there are none.

    `doubling_steps` is left to the caller, who knows the steps.
    """
    if len(rate) < LEAST_POINTS:
        return f"recorded steps in the window: {len(rate)}, fewer than {LEAST_POINTS}"
    if not rate[-1] - rate[0] > 1e-12 * rate[-1]:
        return "the learning rate is 0 throughout"
    log = np.log(distances)
    line, power = slopes(rate, log), slopes(np.log(rate), log)
    columns = {
        "exponent": line.slope, "low": line.low, "high": line.high, "autocorrelation": line.autocorrelation,
        "r2": line.r2, "aic": line.aic, "power": power.slope, "power_r2": power.r2, "power_aic": power.aic,
    }  # fmt: skip
    return [{name: float(values[i]) for name, values in columns.items()} for i in range(log.shape[1])]


def _of_arm(run: Run, arm: str, rate: Array, windows: Sequence[tuple[int, int]], per_layer: bool) -> list[Growth]:
    if per_layer:
        map_ = layers(run, arm, "distance")
        distances = _Distances(map_.steps, map_.values, map_.layers)
    else:
        steps, values = run.column("scalars", arm, "state.distance")
        distances = _Distances(steps, values[:, None], (None,))
    # The layers are all shared weights, so that their squares add up to the global one.
    named = named_windows(distances.steps, np.sqrt((distances.values**2).sum(-1)))
    asked = [Window(f"{first}:{last}", first, last) for first, last in windows]
    return [fitted for window in (*named, *asked) for fitted in _in_window(run, arm, window, rate, distances)]


class _Distances(NamedTuple):
    """Distances (T, L) of an arm to its reference at steps (T,): of L layers, or of all shared weights (None)."""

    steps: NDArray[np.int64]
    values: Array
    layers: tuple[str | None, ...]


def _in_window(run: Run, arm: str, window: Window, rate: Array, distances: _Distances) -> list[Growth]:
    inside = (distances.steps >= window.first) & (distances.steps <= window.last)
    at, values = distances.steps[inside], distances.values[inside]
    s = rate[at]
    reasons = [_undefined(at, values[:, i]) for i in range(len(distances.layers))]
    good = [i for i, reason in enumerate(reasons) if not reason]
    fits = fit(s, values[:, good]) if good else ""
    fitted = {} if isinstance(fits, str) else dict(zip(good, fits, strict=True))
    first, last = (int(at[0]), int(at[-1])) if len(at) else window[1:]
    s_first, s_last = (float(s[0]), float(s[-1])) if len(at) else (math.nan, math.nan)
    growths = []
    for i, layer in enumerate(distances.layers):
        of_layer = Growth(
            arm=arm,
            reference=str(run.arms[arm].reference),
            layer=layer,
            window=window.name,
            first=first,
            last=last,
            n=len(at),
            s_first=s_first,
            s_last=s_last,
            undefined=reasons[i] or (fits if isinstance(fits, str) else ""),
            **fitted.get(i, {}),
        )
        growths.append(_with_doubling(of_layer))
    return growths


def _undefined(steps: NDArray[np.int64], values: Array) -> str:
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if not len(bad):
        return ""
    value = "0" if values[bad[0]] == 0 else "not a finite number"
    return f"the distance is {value} at step {steps[bad[0]]}"


def _with_doubling(fitted: Growth) -> Growth:
    if not fitted.low > 0:  # the time would be one of a growth that may be none
        return fitted
    mean_rate = (fitted.s_last - fitted.s_first) / (fitted.last - fitted.first)
    return replace(fitted, doubling_steps=math.log(2) / (fitted.exponent * mean_rate))
