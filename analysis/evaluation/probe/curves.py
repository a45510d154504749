"""From what classifiers got right to curves of accuracy, with intervals, and differences to the reference's, paired."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.arrays.linear_probe import SMALLEST
from analysis.evaluation.probe.settings import CLASSIFIERS, Settings
from analysis.evaluation.samples import SPLITS
from analysis.runs.curve import Band, Curve
from analysis.statistics.proportions import (
    Interval,
    mean_paired_difference,
    mean_rate,
    over_draws,
    paired_difference,
    rate,
)
from coupled.data.splits import SplitName

ACCURACIES: Final = ("accuracy", "class_accuracy")  # mean over samples, mean over classes
DIFFERENCES: Final = ("accuracy_difference", "class_accuracy_difference")  # to the reference's
NOT_OPTIMAL: Final = "a linear probe is not at its optimum"
_OVER: Final = ("samples", "classes")
_NO_INTERVAL: Final = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class AccuracyCurve(Curve):
    """An accuracy over kept checkpoints, or the difference of two arms' accuracies; `estimator` is its meaning.

    measure: "accuracy", the share of samples that are put into their class, or "class_accuracy", the mean over classes
    of that share; with "_difference": arm less `reference`, of the same shots and samples. ways: among how many classes
    one is chosen. shots: samples a class, None for all. draws: that values are means over. gradient: the largest of the
    linear probes' fits, over steps and draws (of a difference: of both arms), relative to that at 0; NaN of other
    classifiers. protocol: whose linear probe it is.
    """

    classifier: str
    ways: int
    shots: int | None
    draws: int
    gradient: float
    protocol: str = "default"


@dataclass(frozen=True)
class Subject:
    """An arm's feature under a labelling: what is known of it, and its columns, (steps, …), with those of its
    reference; names as `trials` gives them, behind "all." or "few.".
    """

    arm: str
    reference: str | None
    steps: NDArray[np.int64]
    feature: str
    d: int
    labelling: str
    labels: Mapping[SplitName, Tensor]
    flags: Mapping[SplitName, tuple[str, ...]]
    columns: Mapping[str, NDArray[Any]]
    of_reference: Mapping[str, NDArray[Any]] | None


@dataclass(frozen=True)
class _Kind:
    """What a curve is of, beside its subject."""

    classifier: str
    way: int  # 0: C-way, 1: two-way
    shots: int | None
    split: SplitName
    average: int  # 0: over samples, 1: over classes


def accuracies(subject: Subject, chosen: Settings) -> Iterator[AccuracyCurve]:
    """Every accuracy of a subject, each followed by its difference to the reference's."""
    counts = _Counts(subject)
    for group in chosen.groups:
        for classifier in CLASSIFIERS[group]:
            # Of two classes the only pair is all of them.
            for way in (0, 1) if counts.count > 2 else (0,):
                for shots in chosen.shots:
                    for split in SPLITS:
                        for average in (0, 1):
                            kind = _Kind(classifier, way, shots, split, average)
                            yield from _curves(subject, counts, kind, chosen)


class _Counts:
    """The classes of train, and which test samples count: those of a class that train has."""

    def __init__(self, subject: Subject) -> None:
        self.classes, index, sizes = subject.labels["train"].unique(return_inverse=True, return_counts=True)
        self.count, self.least = len(self.classes), int(sizes.min())
        self.smallest = int(self.classes[sizes.argmin()])
        test = subject.labels["test"]
        known = torch.isin(test, self.classes)
        self.unknown = int((~known).sum())
        both = len(test[known].unique())
        self.pairs = both * (both - 1) // 2  # of classes that both splits have
        of_test = torch.searchsorted(self.classes, test[known])
        self.index: dict[SplitName, NDArray] = {"train": index.numpy(), "test": of_test.numpy()}
        self.sizes = {split: np.bincount(own, minlength=self.count) for split, own in self.index.items()}


def _curves(subject: Subject, counts: _Counts, kind: _Kind, chosen: Settings) -> Iterator[AccuracyCurve]:
    own, other = subject.columns, subject.of_reference
    steps = range(len(subject.steps))
    yield _curve(subject, counts, kind, chosen, [_interval(counts, kind, chosen, own, None, step) for step in steps])
    if other is not None:
        intervals = [_interval(counts, kind, chosen, own, other, step) for step in steps]
        yield _curve(subject, counts, kind, chosen, intervals, subject.reference)


def _interval(
    counts: _Counts,
    kind: _Kind,
    chosen: Settings,
    own: Mapping[str, NDArray],
    other: Mapping[str, NDArray] | None,
    step: int,
) -> Interval:
    """The accuracy at a step with its interval; beside `other`, the difference of the two."""
    if kind.shots is None and kind.way == 0:
        return _over_samples(counts, kind, own, other, step)
    values, limits = _drawn(kind, chosen, own, step), (0.0, 1.0)
    if other is not None:
        values, limits = values - _drawn(kind, chosen, other, step), (-1.0, 1.0)
    if not len(values):
        return _NO_INTERVAL
    value, low, high = over_draws(values)
    if kind.shots is None and len(values) == counts.pairs:
        return Interval(value, math.nan, math.nan)  # of all pairs there is no sampling
    return Interval(value, *(float(np.clip(limit, *limits)) for limit in (low, high)))


def _drawn(kind: _Kind, chosen: Settings, columns: Mapping[str, NDArray], step: int) -> NDArray[np.float64]:
    """The accuracies of all draws."""
    split = SPLITS.index(kind.split)
    if kind.shots is None:
        return columns[f"all.{kind.classifier}.two_way"][step, :, split, kind.average]
    return columns[f"few.{kind.classifier}"][step, kind.way, chosen.few.index(kind.shots), :, split, kind.average]


def _over_samples(
    counts: _Counts, kind: _Kind, own: Mapping[str, NDArray], other: Mapping[str, NDArray] | None, step: int
) -> Interval:
    """Of one fit to all samples: by which samples it put into their class."""
    name, index, sizes = f"all.{kind.classifier}.{kind.split}", counts.index[kind.split], counts.sizes[kind.split]
    there = sizes > 0
    if name not in own:
        return _NO_INTERVAL
    right = own[name][step].astype(bool)
    if other is None:
        hits = np.bincount(index[right], minlength=counts.count)
        return mean_rate(hits[there], sizes[there]) if kind.average else rate(int(hits.sum()), int(sizes.sum()))
    beside = other[name][step].astype(bool)
    better, worse = (np.bincount(index[of], minlength=counts.count) for of in (right & ~beside, beside & ~right))
    if kind.average:
        return mean_paired_difference(better[there], worse[there], sizes[there])
    return paired_difference(int(better.sum()), int(worse.sum()), int(sizes.sum()))


def _curve(
    subject: Subject,
    counts: _Counts,
    kind: _Kind,
    chosen: Settings,
    intervals: Sequence[Interval],
    reference: str | None = None,
) -> AccuracyCurve:
    value, low, high = (np.array(column, np.float64) for column in zip(*intervals, strict=True))
    ways = 2 if kind.way else counts.count
    draws = _draws(counts, kind, chosen)
    sides = [subject.columns, *([subject.of_reference] if reference is not None and subject.of_reference else [])]
    gradient = max(_gradient(side, kind, chosen) for side in sides)
    measures = ACCURACIES if reference is None else DIFFERENCES
    return AccuracyCurve(
        measure=measures[kind.average],
        arm=subject.arm,
        reference=reference,
        steps=subject.steps,
        values=value,
        n=len(counts.index[kind.split]),
        d=subject.d,
        feature=subject.feature,
        source="checkpoint",
        split=kind.split,
        labelling=subject.labelling,
        estimator=_meaning(kind, ways, draws, chosen, reference),
        undefined=_undefined(counts, kind, ways),
        flags=tuple(_flags(subject, counts, kind, chosen, gradient)),
        interval=Band(low, high, _interval_words(kind, draws)) if draws > 1 or not np.isnan(low).all() else None,
        classifier=kind.classifier,
        ways=ways,
        shots=kind.shots,
        draws=draws,
        gradient=gradient,
        protocol=chosen.protocol,
    )


def _draws(counts: _Counts, kind: _Kind, chosen: Settings) -> int:
    """How many fits a value is the mean of, the centres' two-way accuracies of all samples being one."""
    if kind.shots is not None:
        return chosen.draws
    return 1 if kind.way == 0 or kind.classifier == "centre" else min(chosen.draws, counts.pairs)


def _gradient(columns: Mapping[str, NDArray], kind: _Kind, chosen: Settings) -> float:
    if kind.classifier != "linear":
        return math.nan
    if kind.shots is None:
        gradients = columns["all.linear.gradient"][:, 1:] if kind.way else columns["all.linear.gradient"][:, :1]
    else:
        gradients = columns["few.linear.gradient"][:, kind.way, chosen.few.index(kind.shots)]
    return float(gradients.max()) if gradients.size else math.nan


def _meaning(kind: _Kind, ways: int, draws: int, chosen: Settings, reference: str | None) -> str:
    [name] = [of[kind.classifier] for of in CLASSIFIERS.values() if kind.classifier in of]
    if kind.classifier == "linear" and chosen.protocol != "default":
        name = f"{name} of protocol {chosen.protocol}"
    shots = "all samples" if kind.shots is None else f"{kind.shots} shots a class"
    over = f"mean over {_OVER[kind.average]}" + (f" and {draws} draws" if draws > 1 else "")
    less = "" if reference is None else ", less the reference's of the same shots and samples"
    return f"{name}, {ways}-way, {shots}, {over}{less}"


def _interval_words(kind: _Kind, draws: int) -> str:
    if draws > 1:
        return f"95 % t interval over {draws} draws of {'pairs' if kind.shots is None else 'shots'}"
    return f"95 % interval over {kind.split} samples"


def _undefined(counts: _Counts, kind: _Kind, ways: int) -> str:
    if kind.shots is not None and kind.shots > counts.least:
        return f"class {counts.smallest} has {counts.least} train samples, fewer than {kind.shots} shots"
    if kind.way and not counts.pairs:
        return "train and test have fewer than two classes in common"
    there = len(counts.index["train"]) if kind.shots is None else kind.shots * ways
    if kind.classifier.startswith("knn") and int(kind.classifier.removeprefix("knn")) > there:
        return f"{kind.classifier.removeprefix('knn')} neighbours among fewer shots"
    return "undefined"


def _to_one_class(counts: _Counts, kind: _Kind, chosen: Settings, columns: Mapping[str, NDArray]) -> bool:
    """At some step, does every fit put all samples into one class, by what it gets right?"""
    sizes, index = counts.sizes[kind.split], counts.index[kind.split]
    if kind.way:
        return False
    if kind.shots is None:
        right = columns.get(f"all.{kind.classifier}.{kind.split}")
        if right is None:
            return False
        hits = np.stack([np.bincount(index[of_step.astype(bool)], minlength=counts.count) for of_step in right])
        # All samples of one class, and none of another.
        whole = ((hits == sizes) & (sizes > 0)).sum(1) == 1
        return bool((whole & (np.count_nonzero(hits, axis=1) == 1)).any())
    rates = columns[f"few.{kind.classifier}"][:, 0, chosen.few.index(kind.shots), :, SPLITS.index(kind.split)]
    there = sizes[sizes > 0]
    shares = np.stack([there / sizes.sum(), np.full(len(there), 1 / len(there))], 1)  # (classes, 2)
    apart = np.abs(rates[:, :, None] - shares).max(3)  # (steps, draws, classes)
    return bool((apart.min(2) < 1e-12).all(1).any())


def _flags(subject: Subject, counts: _Counts, kind: _Kind, chosen: Settings, gradient: float) -> Iterator[str]:
    yield from subject.flags[kind.split]
    if kind.split == "test" and counts.unknown:
        yield f"{counts.unknown} test samples are of classes that train lacks: left out"
    if (absent := int((counts.sizes["test"] == 0).sum())) and kind.split == "test":
        yield f"{absent} classes of train have no test samples: in no mean over classes"
    if kind.way and kind.shots is not None and kind.classifier != "centre" and chosen.draws > counts.pairs > 0:
        yield f"there are {counts.pairs} pairs of classes: draws repeat them"
    if _to_one_class(counts, kind, chosen, subject.columns):
        yield "at some step all samples go to one class: equal centres, or features that say nothing of classes"
    if kind.split == "train":
        yield "the shots are among these samples"
    if kind.classifier == "linear" and gradient > SMALLEST:
        if chosen.protocol == "default":
            yield f"{NOT_OPTIMAL}: gradient {gradient:.2g} of that at 0"
        else:
            yield f"protocol {chosen.protocol} ends after a fixed number of steps, at no optimum"
