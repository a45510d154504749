"""The exact loss gap of every recorded batch Σ with the bounds on it.

Shapes: A = 2B anchors of a batch, T recorded steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from analysis.bounds.permuted import of_batches, right_by_chance
from analysis.runs.curve import Curve, Kind
from analysis.runs.labels import is_permuted, permuted_of
from analysis.runs.recorded import has_records, labellings_of
from analysis.runs.run import Run
from coupled.config.traits import Permuted
from coupled.errors import UserError
from coupled.objectives.masks import pair_masks, similarity
from coupled.planning.class_shares import ClassShares, class_shares
from coupled.reading.records import Block
from coupled.recording.layout import has_positive_gap, owner_of_inputs
from coupled.theory.bounds import GapBounds, data_set_gap, gap_bounds

NOT_A_BOUND: Final = "not a bound"  # how a flag begins that takes a bound's promise away
SLACK: Final = "gap_slack"
_PIECE: Final = 1 << 16  # numbers of float64


@dataclass(frozen=True)
class _Setting:
    """One gap of one arm: under which labelling, `permuted` or not, with the positive in the denominator or not."""

    arm: str
    labelling: str
    temperature: float
    positive: bool
    permuted: Permuted | None = None

    @property
    def counted(self) -> str:
        """The labelling whose class counts these labels have: docs/theory.md (102)."""
        return self.labelling if self.permuted is None else self.permuted.labelling

    @property
    def measure(self) -> str:
        return "gap_with_positive" if self.positive else "gap"


def gap_curves(run: Run, arm: str) -> Iterator[Curve]:
    """Gap, bounds and least slack of an arm for every labelling of interest, in float64 from the recorded z."""
    if not run.schedules("similarity") or run.awaits("similarity", owner_of_inputs(run.config, arm), arm):
        return
    positives = (False, True) if has_positive_gap(run.config) else (False,)
    temperature = run.arms[arm].temperature
    for labelling in labellings_of(run, arm):
        key = permuted_of(run.arms, arm) if is_permuted(labelling) else None
        for positive in positives:
            setting = _Setting(arm, labelling, temperature, positive, key)
            try:
                labels = _labels(run, setting)
            except UserError as error:
                yield from _without_bounds(run, setting, str(error))
            else:
                yield from _curves(run, setting, labels)


def _labels(run: Run, setting: _Setting) -> Iterator[Block]:
    """(steps (k,), labels (k, B)) of the recorded batches. UserError where they are of a data set that is not here."""
    if setting.permuted is not None:
        return of_batches(run, setting.permuted, setting.arm)
    return run.blocks("similarity", owner_of_inputs(run.config, setting.arm), f"batch.labels.{setting.labelling}")


def _without_bounds(run: Run, setting: _Setting, reason: str) -> Iterator[Curve]:
    """The recorded gap with the reason why it stands alone."""
    if not setting.positive and has_records(run, "scalars", "batch", setting.arm):
        recorded = run.curve("gap", arm=setting.arm, labelling=setting.labelling)
        yield replace(recorded, flags=(f"no bounds: the labels are those of the data set, permuted; {reason}",))


def _curves(run: Run, setting: _Setting, labels: Iterator[Block]) -> Iterator[Curve]:
    steps, means = _evaluated(run, setting, labels)
    arrays = {field.name: np.array([getattr(each, field.name) for each in means]) for field in fields(_Means)}
    measured = Curve(
        measure=setting.measure,
        arm=setting.arm,
        reference=None,
        steps=steps,
        values=arrays["gap"],
        n=2 * run.config.batches.size,
        d=run.config.model.projection_dim,
        feature="z",
        source="batch",
        split="train",
        labelling=setting.labelling,
        estimator=f"exact loss gap, tau {setting.temperature:g}, float64 from the recorded z",
        undefined="no anchor has a sample of another class in its batch",
        flags=_chance(run, setting),
    )
    yield measured
    shares, flags = _data_set(run, setting)
    if shares is not None:
        value = data_set_gap(
            max(shares.counts), shares.size, setting.temperature, positive_in_denominator=setting.positive
        )
        yield _bound(measured, np.full(len(steps), value), bound="data set", flags=flags)
    yield _bound(measured, arrays["per_anchor"], bound="per anchor")
    yield _bound(measured, arrays["tighter"], bound="tighter")
    no_bound = ("for comparison, no bound: the gap where all similarities are equal",)
    yield _bound(measured, arrays["equal"], bound="equal similarity", kind="limit", flags=no_bound)
    for bound in ("per anchor", "tighter"):
        values = arrays[f"slack_{bound.replace(' ', '_')}"]
        estimator = slack_estimator(bound, setting.measure)
        yield replace(measured, measure=SLACK, values=values, estimator=estimator, flags=())


def slack_estimator(bound: str, measure: str) -> str:
    """What the curve is whose measure is `SLACK`, of a bound on a loss gap."""
    return f"least slack over the anchors of the bound {bound}, of {measure}"


def _bound(
    of: Curve, values: np.ndarray, *, bound: str, kind: Kind = "upper bound", flags: tuple[str, ...] = ()
) -> Curve:
    return replace(of, bound=bound, kind=kind, values=values, estimator=f"mean over anchors: {bound}", flags=flags)


@dataclass(frozen=True)
class _Means:
    """Means over the kept anchors of one batch, and the least slack over them."""

    gap: float
    per_anchor: float
    tighter: float
    equal: float
    slack_per_anchor: float
    slack_tighter: float


def _chance(run: Run, setting: _Setting) -> tuple[str, ...]:
    if setting.permuted is None:
        return ()
    share = right_by_chance(run, setting.permuted, setting.arm)
    return (f"permuted labels: {share:.3g} of the pairs of one class are expected to be of one true class too",)


def _evaluated(run: Run, setting: _Setting, labels: Iterator[Block]) -> tuple[np.ndarray, list[_Means]]:
    steps, means = [], []
    own = run.blocks("similarity", setting.arm, "batch.z")
    for (at, z), (_, of_batch) in zip(own, labels, strict=False):
        # Of a run still written one file may be a shard ahead.
        for some in _pieces(min(len(at), len(of_batch)), z.shape[1]):
            masks = pair_masks(torch.tensor(of_batch[some]))
            on_batches = gap_bounds(
                _sigmas(z[some]), masks, setting.temperature, positive_in_denominator=setting.positive
            )
            steps += at[some].tolist()
            means += [_means(on_batches.of_batch(row)) for row in range(len(at[some]))]
    return np.array(steps, np.int64), means


def _pieces(count: int, anchors: int) -> Iterator[slice]:
    """So many steps in pieces, at least one step each, whose Σ fill half a MiB at most: they stay in the cache."""
    each = max(1, _PIECE // anchors**2)
    return (slice(start, min(start + each, count)) for start in range(0, count, each))


def _sigmas(z: np.ndarray) -> Tensor:
    """Σ of every step of z (k, A, d), float64 (k, A, A). Recorded z are unit vectors to their precision's rounding."""
    exact = torch.tensor(z, dtype=torch.float64)
    # One by one: a product of many matrices at once may round otherwise.
    return torch.stack([similarity(of_step) for of_step in exact]).clamp_(-1, 1)


def _means(by_anchor: GapBounds) -> _Means:
    return _Means(
        gap=by_anchor.mean(by_anchor.gap),
        per_anchor=by_anchor.mean(by_anchor.per_anchor),
        tighter=by_anchor.mean(by_anchor.tighter),
        equal=by_anchor.mean(by_anchor.equal),
        slack_per_anchor=by_anchor.slack(by_anchor.per_anchor),
        slack_tighter=by_anchor.slack(by_anchor.tighter),
    )


def _data_set(run: Run, setting: _Setting) -> tuple[ClassShares | None, tuple[str, ...]]:
    """The class shares that docs/theory.md (14) needs, if they can be known here, and what the bound assumes."""
    try:
        shares = class_shares(run.config, setting.counted)
    except UserError:
        return None, ()
    flags = [f"class shares: {shares.known_from}"]
    config, classes = run.config, len(shares.counts)
    if config.batches.stream != "balanced":
        flags.append(f"{NOT_A_BOUND} for mini-batches: batches are {config.batches.stream}")
    elif config.data.balance_by != setting.counted:
        flags.append(f"{NOT_A_BOUND} for mini-batches: they are balanced by {config.data.balance_by}")
    elif config.batches.size % classes:
        flags.append(f"{NOT_A_BOUND} for mini-batches: {config.batches.size} samples of {classes} classes are not even")
    return shares, tuple(flags)
