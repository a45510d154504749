"""The exact loss gap of every recorded batch Σ with the bounds on it.

Shapes: A = 2B anchors of a batch, T recorded steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from analysis.runs.curve import Curve, Kind
from analysis.runs.recorded import labellings_of
from analysis.runs.run import Run
from coupled.errors import UserError
from coupled.objectives.masks import pair_masks, similarity
from coupled.planning.class_shares import ClassShares, class_shares
from coupled.recording.layout import SHARED, has_positive_gap
from coupled.theory.bounds import GapBounds, data_set_gap, gap_bounds

NOT_A_BOUND: Final = "not a bound"  # how a flag begins that takes a bound's promise away
SLACK: Final = "gap_slack"


@dataclass(frozen=True)
class _Setting:
    """One gap of one arm: under which labelling, with the positive in the denominator or not."""

    arm: str
    labelling: str
    temperature: float
    positive: bool

    @property
    def measure(self) -> str:
        return "gap_with_positive" if self.positive else "gap"


def gap_curves(run: Run, arm: str) -> Iterator[Curve]:
    """Gap, bounds and least slack of an arm for every labelling of interest, in float64 from the recorded z."""
    if not run.schedules("similarity") or run.awaits("similarity", SHARED, arm):
        return
    positives = (False, True) if has_positive_gap(run.config) else (False,)
    temperature = run.arms[arm].temperature
    for labelling in labellings_of(run, arm):
        for positive in positives:
            yield from _curves(run, _Setting(arm, labelling, temperature, positive))


def _curves(run: Run, setting: _Setting) -> Iterator[Curve]:
    steps, found = _evaluated(run, setting)
    n, d = 2 * run.config.batches.size, run.config.model.projection_dim
    undefined = "no anchor has a sample of another class in its batch"
    estimator = f"exact loss gap, tau {setting.temperature:g}, float64 from the recorded z"
    arrays = {name: np.array([getattr(each, name) for each in found]) for name in _Means.__dataclass_fields__}
    measured = Curve(
        setting.measure, setting.arm, None, steps, arrays["gap"], n, d, "z", "batch",
        "train", setting.labelling, estimator, undefined,
    )  # fmt: skip
    yield measured
    shares, flags = _data_set(run, setting)
    if shares is not None:
        value = data_set_gap(
            max(shares.counts), shares.size, setting.temperature, positive_in_denominator=setting.positive
        )
        yield _bound(measured, "data set", "upper bound", np.full(len(steps), value), flags)
    yield _bound(measured, "per anchor", "upper bound", arrays["per_anchor"])
    yield _bound(measured, "tighter", "upper bound", arrays["tighter"])
    reference = ("a reference, no bound: the gap where all similarities are equal",)
    yield _bound(measured, "equal similarity", "limit", arrays["equal"], reference)
    for bound in ("per anchor", "tighter"):
        values = arrays[f"slack_{bound.replace(' ', '_')}"]
        what = f"least slack over the anchors of the bound {bound}"
        yield replace(measured, measure=SLACK, values=values, estimator=f"{what}, of {setting.measure}")


def _bound(of: Curve, name: str, kind: Kind, values: np.ndarray, flags: tuple[str, ...] = ()) -> Curve:
    return replace(of, bound=name, kind=kind, values=values, estimator=f"mean over anchors: {name}", flags=flags)


@dataclass(frozen=True)
class _Means:
    """Means over the kept anchors of one batch, and the least slack over them."""

    gap: float
    per_anchor: float
    tighter: float
    equal: float
    slack_per_anchor: float
    slack_tighter: float


def _evaluated(run: Run, setting: _Setting) -> tuple[np.ndarray, list[_Means]]:
    steps, found = [], []
    own = run.blocks("similarity", setting.arm, "batch.z")
    labels = run.blocks("similarity", SHARED, f"batch.labels.{setting.labelling}")
    for (at, z), (_, of_batch) in zip(own, labels, strict=False):
        # Of a run still written one file may be a shard ahead.
        for row in range(min(len(at), len(of_batch))):
            # Recorded z are unit vectors to their precision's rounding only.
            sigma = similarity(torch.tensor(z[row], dtype=torch.float64)).clamp(-1, 1)
            masks = pair_masks(torch.tensor(of_batch[row]))
            made = gap_bounds(sigma, masks, setting.temperature, positive_in_denominator=setting.positive)
            steps.append(int(at[row]))
            found.append(_means(made))
    return np.array(steps, np.int64), found


def _means(made: GapBounds) -> _Means:
    return _Means(
        gap=made.mean(made.gap),
        per_anchor=made.mean(made.per_anchor),
        tighter=made.mean(made.tighter),
        equal=made.mean(made.equal),
        slack_per_anchor=made.slack(made.per_anchor),
        slack_tighter=made.slack(made.tighter),
    )


def _data_set(run: Run, setting: _Setting) -> tuple[ClassShares | None, tuple[str, ...]]:
    """The class shares that docs/theory.md (14) needs, if they can be known here, and what the bound assumes."""
    try:
        shares = class_shares(run.config, setting.labelling)
    except UserError:
        return None, ()
    flags = [f"class shares: {shares.known_from}"]
    config, classes = run.config, len(shares.counts)
    if config.batches.stream != "balanced":
        flags.append(f"{NOT_A_BOUND} for mini-batches: batches are {config.batches.stream}")
    elif config.data.balance_by != setting.labelling:
        flags.append(f"{NOT_A_BOUND} for mini-batches: they are balanced by {config.data.balance_by}")
    elif config.batches.size % classes:
        flags.append(f"{NOT_A_BOUND} for mini-batches: {config.batches.size} samples of {classes} classes are not even")
    return shares, tuple(flags)
