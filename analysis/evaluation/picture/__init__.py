"""Pictures of a run's representations: samples of some classes as points of a plane, for every arm and kept checkpoint.

Pictures of one arm are turned onto each other, so that what moves from one to the next is not how a method happened to
turn them. Shapes: n samples that are shown, the same in all pictures.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.arrays.pairwise import procrustes
from analysis.arrays.turning import turned_onto
from analysis.evaluation.features import Evaluation, Place
from analysis.evaluation.kept import Kept
from analysis.evaluation.picture.embedding import METHODS, NEIGHBOURS, Embedded, Embedding, Method, Principal, Umap
from analysis.evaluation.picture.samples import CLASSES, PER_CLASS, shown
from analysis.output.thinning import spread
from coupled.data.splits import SplitName
from coupled.errors import UserError, unknown

Feature = Literal["h", "z"]
FEATURES: Final[tuple[Feature, ...]] = ("h", "z")
MOST_STEPS: Final = 8  # of a row, unless the user names steps
_ALIKE: Final = 4.0  # pictures whose sizes differ by no more are drawn at one scale


@dataclass(frozen=True, eq=False)
class Picture:
    """The points (n, 2) of one arm at one step, float64, turned; their mean is 0.

    share: of the features' variance that the points show (PCA), else NaN. distance: the Procrustes distance from
    the picture that they were turned onto, docs/theory.md (47), in [0, √2]; NaN for the first of all, and where either
    is one point.
    """

    arm: str
    step: int
    points: NDArray[np.float64]
    share: float
    distance: float

    @property
    def half_width(self) -> float:
        """The largest |coordinate|."""
        return float(np.abs(self.points).max())


@dataclass(frozen=True, eq=False, kw_only=True)
class Pictures:
    """The pictures of a run's arms, arm by arm, steps ascending.

    ids, classes (n,), int64: the samples and their classes of `labelling`, which `names` names. settings: the method
    in words. flags: what a reader must know.
    """

    feature: str
    split: SplitName
    method: Method
    settings: str
    labelling: str
    ids: NDArray[np.int64]
    classes: NDArray[np.int64]
    names: Mapping[int, str]
    pictures: list[Picture]
    flags: tuple[str, ...]

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(picture.arm for picture in self.pictures))

    @property
    def steps(self) -> list[int]:
        return sorted({picture.step for picture in self.pictures})

    def half_widths(self) -> tuple[dict[tuple[str, int], float], bool]:
        """Half the side of each picture's square by arm and step, and whether it is the same for all: it is unless
        their sizes differ so much that some would be dots.
        """
        widths = {(picture.arm, picture.step): picture.half_width for picture in self.pictures}
        sizes = [width for width in widths.values() if width > 0] or [1.0]
        if max(sizes) <= _ALIKE * min(sizes):
            return dict.fromkeys(widths, max(sizes)), True
        return {place: width or 1.0 for place, width in widths.items()}, False


def picture(
    evaluation: Evaluation,
    *,
    classes: int = CLASSES,
    per_class: int = PER_CLASS,
    feature: Feature = "h",
    split: SplitName = "test",
    method: Method = "umap",
    labelling: str | None = None,
    most: int | None = MOST_STEPS,
) -> Pictures:
    """Pictures of `feature` of every arm at the steps that are evaluated: of more than `most`, that many.

    classes, per_class: how many classes, and samples of each, are chosen by address of those of `split` that are
    evaluated. labelling: whose classes (default: the run's first). most: None for all steps. Each picture is turned
    onto that of the step before, the first of each arm onto the first arm's. UMAP's are kept beside the features.

    Raises UserError, before features are made, where a library or labels are missing and for what is not allowed; for
    features that are not finite; and what `Evaluation` raises.
    """
    if feature not in FEATURES:
        raise unknown("feature", feature, FEATURES)
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    samples = shown(evaluation, split, labelling, classes, per_class)
    embedding = Umap(len(samples), Kept(evaluation.folder)) if method == "umap" else Principal()
    kept = np.array(evaluation.steps, np.int64)
    steps: list[int] = kept[spread(kept, len(kept) if most is None else most)].tolist()
    evaluation.prepare(steps=steps, splits=(split,))
    places = [Place(arm, step, split) for arm in evaluation.arms for step in steps]
    flags = [*samples.flags, *_flags(len(samples), len(steps), len(kept), method)]
    embedded = list(_embedded(evaluation, places, samples.positions, feature, embedding, flags))
    of_split = evaluation.split(split)
    return Pictures(
        feature=feature,
        split=split,
        method=method,
        settings=embedding.settings,
        labelling=samples.labelling,
        ids=samples.ids.numpy(),
        classes=samples.labels.numpy(),
        names={label: of_split.class_name(samples.labelling, label) for label in samples.classes},
        pictures=_turned(places, embedded),
        flags=tuple(flags),
    )


def _embedded(
    evaluation: Evaluation,
    places: list[Place],
    positions: Tensor,
    feature: Feature,
    embedding: Embedding,
    flags: list[str],
) -> Iterator[Embedded]:
    """The points of each place, one place after the other: UMAP's compiled loops are not for several threads."""
    for done, place in enumerate(places, 1):
        x = _rows(evaluation, place, feature, positions)
        if bool((x == x[0]).all()):
            flags.append(f"{place.arm} at step {place.step}: all features are equal, so all points are one")
            yield Embedded(torch.zeros(len(x), 2, dtype=torch.float64), math.nan)
        else:
            try:
                yield embedding.of(x)
            except UserError as error:
                raise UserError(f"{feature} of {place}", str(error)) from None
        evaluation.progress(f"pictures of {evaluation.run.name}", done, len(places))


def _rows(evaluation: Evaluation, place: Place, feature: Feature, positions: Tensor) -> Tensor:
    """The features of the samples at these positions, ascending: no more of the others is held than a part."""
    parts, first = [], 0
    for (block,) in evaluation.blocks(place, feature):
        inside = positions[(positions >= first) & (positions < first + len(block))]
        parts.append(block[inside - first])
        first += len(block)
    return torch.cat(parts)


def _turned(places: list[Place], embedded: list[Embedded]) -> list[Picture]:
    """The pictures, each turned onto the one before it in its row, the first ones onto the first row's; one point has
    no direction, so none is turned onto it.
    """
    pictures = list[Picture]()
    first, onto = None, None
    for place, (points, share) in zip(places, embedded, strict=True):
        if not pictures or pictures[-1].arm != place.arm:
            onto = first
        distance = math.nan
        if bool(points.any()):
            if onto is not None:
                points, distance = turned_onto(points, onto), _distance(points, onto)
            onto = points
            first = points if first is None else first
        pictures.append(Picture(place.arm, place.step, points.numpy(), share, distance))
    return pictures


def _distance(x: Tensor, y: Tensor) -> float:
    measure = procrustes()
    return float(measure.compare(measure.prepare(x), measure.prepare(y)))


def _flags(n: int, steps: int, kept: int, method: Method) -> Iterator[str]:
    if method == "umap" and n <= NEIGHBOURS:
        yield f"{n} samples: each has {n - 1} neighbours, {NEIGHBOURS} were to be taken"
    if steps < kept:
        yield f"{steps} of {kept} kept steps, about evenly spaced in log(step): --steps names others"
