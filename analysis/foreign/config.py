"""The config of a run of imported checkpoints: what files and user say, and nobody's values for the rest."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Final

from analysis.foreign.folders import objective_of
from analysis.foreign.shapes import Architecture
from coupled import data
from coupled.config import Config, from_tables
from coupled.config.user_code import execute
from coupled.data import DataInfo
from coupled.data.decode import resized_side
from coupled.errors import UserError
from coupled.reading.imported import NORMALISATION, Imported, Source, is_normalisation, placeholders
from coupled.recording.layout import STREAMS

Numbers = tuple[float, float, float]
# What the papers' code normalises by: at 32 px the first, at 64 and 224 px ImageNet's.
_SMALL: Final[tuple[Numbers, Numbers]] = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_LARGE: Final[tuple[Numbers, Numbers]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_LARGEST_SMALL: Final = 32  # pixels
_NEVER: Final = {"every": 0, "log": 0, "steps": [], "last": False}
_RECIPE: Final = "paper-v2"
_BATCH: Final = 128  # images in a batch of nobody's choosing


@dataclass(frozen=True)
class Origin:
    """What no file tells: the data set, its labelling (None: its own), the folder of its files and the files of the
    user's own code; the batch size B; the side of the images; mean in [0, 1] and std in (0, 1] that they were
    normalised by; None for the papers' own. UserError for others.
    """

    data_set: str
    labelling: str | None = None
    data: str = ""
    code: Sequence[str] = ()
    batch: int | None = None
    size: int | None = None
    mean: Numbers | None = None
    std: Numbers | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise UserError("one of --mean and --std", "images are normalised by both", "give the other as well")
        if self.mean is not None and self.std is not None:
            mean, std = _numbers(self.mean), _numbers(self.std)
            if not (len(mean) == len(std) == 3 and is_normalisation(mean, std)):
                given = f"--mean {' '.join(map(str, self.mean))} --std {' '.join(map(str, self.std))}"
                raise UserError(given, NORMALISATION, "images have values from 0 to 1: give both on that scale")
            object.__setattr__(self, "mean", mean)
            object.__setattr__(self, "std", std)

    def info(self) -> DataInfo:
        """The whole data set. UserError where it is not known here."""
        execute(tuple(self.code))
        return data.info(self.data_set, self.data)


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    """The values as float; NaN for what is no number."""
    return tuple(
        float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan for value in values
    )


def steps_of(epochs: Sequence[int], origin: Origin) -> dict[int, int]:
    """The step of every epoch: epoch·⌊N/B⌋ for N training images, or the epoch itself where B is not known."""
    if origin.batch is None:
        return {epoch: epoch for epoch in epochs}
    images = origin.info().train_size
    if not 2 <= origin.batch <= images:
        raise UserError(f"--batch {origin.batch}", f"from 2 to the {images} training images of {origin.data_set}")
    return {epoch: epoch * (images // origin.batch) for epoch in epochs}


def config(network: Architecture, arms: Sequence[str], steps: Sequence[int], origin: Origin) -> Config:
    """The config. UserError where the network, the arms and the data set do not fit each other."""
    info = origin.info()
    size = network.image_size or origin.size or info.size
    if origin.size not in (None, size):
        raise UserError(f"--size {origin.size}", f"this ViT is of images of {size} px", "leave it out")
    labelling = {} if origin.labelling is None else {"labelling": origin.labelling}
    return from_tables(
        {
            "name": "imported",
            "code": {"files": list(origin.code)},
            "paths": {"data": origin.data},
            "data": {"name": origin.data_set, **labelling},
            "batches": {"size": origin.batch or min(_BATCH, info.train_size)},
            "views": {"recipe": _RECIPE, "size": size},
            "model": dict(network.model),
            "optimiser": {"schedule": "constant"},
            "train": {"steps": max(steps)},
            "record": dict.fromkeys(STREAMS, _NEVER),
            "panel": {
                "size": min(1024, info.test_size),
                "surrogate_size": min(_BATCH, info.train_size),
            },
            "checkpoints": {"keep": {**_NEVER, "steps": sorted(steps)}, "recovery": _NEVER},
            "arms": {arm: _arm(arm) for arm in arms},
        }
    )


def _arm(name: str) -> dict[str, Any]:
    objective = objective_of(name)
    return {"objective": objective, **({"positive_in_denominator": True} if objective == "nscl" else {})}


def content(of: Config, origin: Origin, sources: Sequence[Source]) -> Imported:
    """What run.json holds of the checkpoints beside the config."""
    size = of.views.size
    mean, std = _SMALL if size <= _LARGEST_SMALL else _LARGE
    return Imported(
        unit="epochs" if origin.batch is None else "steps",
        batch=origin.batch,
        mean=origin.mean or mean,
        std=origin.std or std,
        resize=resized_side(size),
        crop=size,
        placeholders=placeholders(origin.batch),
        sources=tuple(sources),
    )


def classes_of(of: Config, origin: Origin) -> Mapping[str, int | None]:
    """The outputs of each arm's classifier by its labelling; None where it has none."""
    classes = origin.info().classes
    return {
        name: classes[arm.labelling] if arm.objective == "ce" and arm.labelling is not None else None
        for name, arm in of.arms.items()
    }
