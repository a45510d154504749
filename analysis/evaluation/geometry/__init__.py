"""Class geometry of a run's arms at kept checkpoints: how far h and z are from the optimum of NSCL, and decision axes.

Everything is of whole evaluated samples of a split, un-augmented; augmentation collapse takes two fixed views of each.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, count
from typing import Final, NamedTuple

import numpy as np
from torch import Tensor

from analysis.arrays.axes import Axes, ClassPairs, decision_axes
from analysis.arrays.classes import HELD
from analysis.arrays.optimum import MEASURES, ClassGeometry, class_geometry
from analysis.evaluation.features import Evaluation, Place
from analysis.evaluation.samples import SPLITS
from analysis.runs.curve import Curve
from analysis.runs.parallel import side_by_side
from coupled.address import Purpose, permutation
from coupled.arms.network import meta_network
from coupled.data.splits import SplitName
from coupled.errors import UserError
from coupled.inputs.dataset import data_info

FEATURES: Final = ("z", "h")
MOST_PAIRS: Final = 100  # pairs of classes of two labellings
ABOUT_H: Final = "about h the theorem on NSCL says nothing"
_TASKS_BYTES: Final = 1 << 30  # that places side by side may take
_DRAWN_FROM: Final = 1 << 16  # of more pairs of classes, so many evenly spaced ones are drawn from


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class GeometryCurve(Curve):
    """A measure of class geometry over kept checkpoints; `estimator` is its meaning.

    `classes`: those that have samples. `at_optimum`: the value where NSCL has its minimum; None of h, of which the
    theorem says nothing. Where `flags` name what the theorem assumes and these samples lack, it is not reached.
    """

    classes: int
    at_optimum: float | None


class AxesAt(NamedTuple):
    """Two decision axes of one arm's features: classes of `labellings`, the first's in `axes.first`."""

    place: Place
    feature: str
    labellings: tuple[str, str]
    axes: Axes
    chosen: str  # how many of all pairs of classes there are rows of


class Geometry(NamedTuple):
    """What `geometry` gives: curves of every arm, split, feature, labelling and measure; decision axes."""

    curves: list[GeometryCurve]
    axes: list[AxesAt]
    notes: list[str]  # of labellings that have no decision axes: why

    def violations(self) -> list[str]:
        """A sentence for every two axes whose cosine is above the bound that always holds: there must be none."""
        return [
            f"{at.place}, {at.feature}, {at.labellings[0]} {at.axes.first} and {at.labellings[1]} {at.axes.second}: "
            f"the cosine {at.axes.cosine:.6g} of the decision axes is above its bound {at.axes.bound_any:.6g}"
            for at in self.axes
            if at.axes.cosine > at.axes.bound_any * (1 + 1e-9) + 1e-12
        ]


class _Crossed(NamedTuple):
    """Two labellings of a split's samples, and the pairs of their classes that are looked at."""

    names: tuple[str, str]
    labels: tuple[Tensor, Tensor]
    pairs: Sequence[tuple[tuple[int, int], tuple[int, int]]]
    chosen: str


def geometry(evaluation: Evaluation) -> Geometry:
    """Every measure of MEASURES of every arm at each step that is evaluated, on train and test, of z and h, under every
    labelling of the run; and the decision axes of every two basic labellings of its data set.

    Of more than 100 pairs of classes of two labellings, 100 are drawn by address. Raises UserError for a data set
    without labels and for features that are not finite, and what `Evaluation` raises.
    """
    run = evaluation.run
    for split in SPLITS:
        if not evaluation.sample(split).labels:
            raise UserError(f"the data set of {run.path} has no labels", "class geometry is of labelled samples")
    evaluation.prepare(kinds=("plain", "views"))
    axes_of, notes = _all_axes(evaluation)
    places = [Place(arm, step, split) for arm in evaluation.arms for split in SPLITS for step in evaluation.steps]
    done = count(1)

    def at(place: Place) -> Iterator[tuple[Place, str, dict[str, ClassGeometry], list[AxesAt]]]:
        labels_of = evaluation.sample(place.split).labels
        for feature, f, apart in _features(evaluation, place):
            of_labels = {name: class_geometry(f, labels, apart=apart) for name, labels in labels_of.items()}
            axes = [
                AxesAt(place, feature, two.names, one, two.chosen)
                for two in axes_of[place.split]
                for one in decision_axes(f, *two.labels, pairs=two.pairs)
            ]
            yield place, feature, of_labels, axes
        evaluation.progress(f"geometry of {run.name}", next(done), len(places))

    measured: dict[tuple[str, SplitName, str, str], list[ClassGeometry]] = {}
    axes: list[AxesAt] = []
    most = max(1, _TASKS_BYTES // _task_bytes(evaluation))
    for place, feature, of_labels, axes_there in side_by_side(places, at, most=most):
        axes += axes_there
        for labelling, at_step in of_labels.items():
            measured.setdefault((place.arm, place.split, feature, labelling), []).append(at_step)
    known = data_info(evaluation.config).classes
    curves = [curve for key, steps in measured.items() for curve in _curves(evaluation, key, steps, known)]
    return Geometry(curves, axes, notes)


def _task_bytes(evaluation: Evaluation) -> int:
    """What one place takes at most: h, some copies of z, and three matrices in float64 for the effective rank of h; of
    rows in float64, and of centres of classes, as many numbers as `Samples` holds.
    """
    network, dimension = meta_network(evaluation.run.config), evaluation.run.config.model.projection_dim
    n, width = max(len(evaluation.sample(split)) for split in SPLITS), max(network.feature_dim, dimension)
    rows = n * (8 * network.feature_dim + 8 * 8 * dimension)
    return rows + 8 * (3 * min(n, width) ** 2 + 2 * min(n * width, HELD))


def _features(evaluation: Evaluation, place: Place) -> Iterator[tuple[str, Tensor, Tensor]]:
    """z and h of a place (n, d), each with the squared distances of its two augmented views (n,)."""
    n, done, of_place = len(evaluation.sample(place.split)), 0, list[Tensor]()
    for blocks in evaluation.blocks(place, *FEATURES):
        # Into their place block by block: joined at the end, h would be held twice.
        of_place = of_place or [block.new_empty(n, block.shape[1]) for block in blocks]
        for whole, block in zip(of_place, blocks, strict=True):
            whole[done : done + len(block)] = block
        done += len(blocks[0])
    z, h = of_place
    first, second = evaluation.views(place).double().chunk(2)
    yield "z", z, (first - second).square().sum(1)
    yield "h", h, evaluation.view_distances(place)


def _curves(
    evaluation: Evaluation,
    key: tuple[str, SplitName, str, str],
    steps: Sequence[ClassGeometry],
    known: Mapping[str, int],
) -> Iterator[GeometryCurve]:
    arm, split, feature, labelling = key
    last, sample = steps[-1], evaluation.sample(split)
    flags = [*sample.flags, *last.flags]
    if not sample.whole:
        flags.append(f"plug-in: moments of {len(sample)} samples of {split}, not of all")
    if (absent := known.get(labelling, 0) - last.classes) > 0:
        flags.append(f"{absent} of {known[labelling]} classes have no samples")
    if feature == "h":
        flags.append(ABOUT_H)
    for name, measure in MEASURES.items():
        values = np.array([at_step.values[name] for at_step in steps])
        of_views = evaluation.view_flags if name == "augmentation_collapse" else ()
        reasons = dict.fromkeys(at_step.undefined[name] for at_step in steps if name in at_step.undefined)
        yield GeometryCurve(
            measure=name, arm=arm, reference=None, steps=np.array(evaluation.steps, np.int64), values=values,
            n=last.n, d=last.d, feature=feature, source="checkpoint", split=split, labelling=labelling,
            estimator=measure.meaning, undefined=" | ".join(reasons), flags=(*flags, *of_views),
            classes=last.classes, at_optimum=None if feature == "h" else last.at_optimum(name),
        )  # fmt: skip


def _all_axes(evaluation: Evaluation) -> tuple[dict[SplitName, list[_Crossed]], list[str]]:
    """The pairs of labellings of each split whose axes are looked at, and a line for those that have none.

    Of the data set's labellings, also those that no arm uses; not products of others, which depend on their factors.
    """
    names = [name for name in data_info(evaluation.config).classes if "*" not in name]
    axes_of: dict[SplitName, list[_Crossed]] = {split: [] for split in SPLITS}
    notes = []
    for split in SPLITS:
        ids = evaluation.sample(split).ids
        labels = {name: evaluation.split(split).labels(name)[ids] for name in names} if len(names) > 1 else {}
        for first, second in combinations(labels, 2):
            every = ClassPairs(labels[first], labels[second])
            pairs = chosen_pairs(every)
            if pairs:
                chosen = f"{len(pairs)} of {len(every)} pairs of classes"
                axes_of[split].append(_Crossed((first, second), (labels[first], labels[second]), pairs, chosen))
            else:
                notes.append(f"{split}: no decision axes of {first} and {second}: no two classes of each have samples "
                             "in all four combinations")  # fmt: skip
    return axes_of, notes


def chosen_pairs(pairs: ClassPairs) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """At most 100 of the pairs of classes of two labellings: all, or those at seed 0, purpose CLASS_PAIRS."""
    if len(pairs) <= MOST_PAIRS:
        return list(pairs)
    drawn_from = min(len(pairs), _DRAWN_FROM)
    order = permutation(0, Purpose.CLASS_PAIRS, drawn_from, a=pairs.sizes[0], b=pairs.sizes[1])
    return [pairs[number * len(pairs) // drawn_from] for number in order[:MOST_PAIRS].sort().values.tolist()]
