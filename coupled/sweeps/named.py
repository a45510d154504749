"""What the names of a sweep's own make of a config: how many classes and images, which steps, which rates."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from math import sqrt
from typing import Any, Final

from coupled import data
from coupled.address import Purpose, permutation
from coupled.config.build import build
from coupled.config.formats import with_reference
from coupled.config.resolve import REFERENCE_BATCH, subset_of
from coupled.config.schema import Optimiser, Written
from coupled.config.user_code import execute
from coupled.data import DataInfo
from coupled.errors import UserError, unknown
from coupled.sweeps.fields import put, section

# The rules as arXiv 2510.08852 publishes them: L·√B / B₀ and L·B^¼ / B₀, not L·√(B / B₀) and L·(B / B₀)^¼.
# What divides L in ours, by B₀. Square roots alone: the same bits on any machine, as digests are made of them.
PUBLISHED: Final[dict[str, tuple[str, Callable[[int], float]]]] = {
    "published-sqrt": ("sqrt", sqrt),
    "published-fourth-root": ("fourth-root", lambda reference: sqrt(reference) * sqrt(sqrt(reference))),
}


def settle(raw: dict[str, Any], named: Mapping[str, Any]) -> None:
    """Set the fields of a config's tables that `named` values stand for. Raises UserError where they cannot be."""
    if "batch_size" in named:
        put(raw, "batches.size", named["batch_size"])
    if "imbalance" in named:
        # 1 is no long tail, the control of that axis.
        is_none = named["imbalance"] in (1, 1.0) and named["imbalance"] is not True
        put(raw, "data.imbalance", None if is_none else named["imbalance"])
    if "classes" in named:
        put(raw, "data.classes", _classes(raw, named["classes"]))
    if "images" in named:
        put(raw, "data.per_class", _per_class(raw, named["images"]))
    if "lr_rule" in named:
        _set_rule(raw, named["lr_rule"])
    if "epochs" in named:
        put(raw, "train.steps", _steps_of_epochs(raw, named["epochs"]))
    if "samples" in named:
        put(raw, "train.steps", _steps_of_samples(raw, named["samples"]))


def _data_set(raw: Mapping[str, Any]) -> tuple[Written, DataInfo]:
    """The config so far, its labelling and data seed filled in, and the whole data set."""
    written = build(Written, with_reference({**raw, "name": "point"}))
    execute(written.code.files)
    info = data.info(written.data.name, written.paths.data)
    labelling = written.data.labelling or info.default_labelling or None
    seed = (written.data.seed or 0) if info.procedural else None
    written = replace(written, data=replace(written.data, labelling=labelling, seed=seed))
    return written, info


def _labelling(written: Written, info: DataInfo, given: str) -> str:
    """The labelling whose classes are meant."""
    labelling = written.data.labelling
    if labelling is None:
        raise UserError(given, f"{written.data.name} has no labels", "remove it")
    if labelling not in info.classes:
        raise unknown("data.labelling", labelling, info.classes)
    return labelling


def _classes(raw: Mapping[str, Any], count: Any) -> list[int]:
    """The first `count` classes of a permutation that the run's seed alone decides: fewer are among more."""
    written, info = _data_set(raw)
    labelling = _labelling(written, info, f"classes = {count}")
    most = info.classes[labelling]
    if type(count) is not int or not 2 <= count <= most:
        raise UserError(f"classes = {count}", f"2 to {most}, the classes of {labelling} of {written.data.name}")
    return permutation(written.seed, Purpose.CLASSES, most)[:count].tolist()


def _per_class(raw: Mapping[str, Any], images: Any) -> int:
    """How many images of each class make `images` in all, exactly."""
    written, info = _data_set(raw)
    if written.data.imbalance is not None:
        raise UserError(f"images = {images}", "a long tail (imbalance) has fewer than that", "remove one")
    classes = len(written.data.classes) or info.classes[_labelling(written, info, f"images = {images}")]
    if type(images) is not int or images < classes or images % classes:
        raise UserError(f"images = {images}", f"a multiple of {classes}, the number of classes", "the same of each")
    each = images // classes
    kept = subset_of(replace(written, data=replace(written.data, per_class=each)), info).train_size
    if kept < images:
        raise UserError(
            f"images = {images}", f"not all of the {classes} classes have {each}: {kept} are left", "lower it"
        )
    return each


def _set_rule(raw: dict[str, Any], rule: Any) -> None:
    """How the rate grows with the batch. At the reference batch all rules of one rate are one, and so are the runs."""
    choices = Optimiser.__dataclass_fields__["scaling"].metadata["choices"]
    if rule not in choices and rule not in PUBLISHED:
        raise UserError(f"lr_rule = {rule}", "one of " + ", ".join((*choices, *PUBLISHED)))
    size = section(raw, "batches").get("size", Written().batches.size)
    reference = section(raw, "optimiser").get("reference_batch") or REFERENCE_BATCH
    if rule in PUBLISHED:
        rule, divisor = PUBLISHED[rule]
        if type(reference) is int and reference > 0:  # else `build` says what it may be
            put(raw, "optimiser.learning_rate", _rate(raw) / divisor(reference))
    is_constant = rule == "constant" or size == reference
    put(raw, "optimiser.scaling", "constant" if is_constant else rule)
    put(raw, "optimiser.reference_batch", None if is_constant else reference)


def _rate(raw: Mapping[str, Any]) -> float:
    """The learning rate as it is written, or what it is where it is not. UserError where that is no number."""
    return build(Written, {"optimiser": section(raw, "optimiser")}).optimiser.learning_rate


def _steps_of_epochs(raw: Mapping[str, Any], epochs: Any) -> int:
    if type(epochs) not in (int, float) or not 0 < epochs < 1e9:
        raise UserError(f"epochs = {epochs}", "a number above 0")
    written, info = _data_set(raw)
    images = subset_of(written, info).train_size
    epoch = images // written.batches.size  # as the batch streams count it
    steps = Fraction(str(epochs)) * epoch
    if steps.denominator != 1 or not steps:
        of = f"{images} images in batches of {written.batches.size}"
        raise UserError(f"epochs = {epochs}", f"an epoch is {epoch} steps ({of}): no whole number of steps")
    return int(steps)


def _steps_of_samples(raw: Mapping[str, Any], samples: Any) -> int:
    size = build(Written, {"batches": section(raw, "batches")}).batches.size
    if type(samples) is not int or samples < size or samples % size:
        raise UserError(f"samples = {samples}", f"a multiple of the batch size, {size}: whole steps")
    return samples // size
