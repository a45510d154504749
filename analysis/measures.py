"""Measures of a run, each a function from records to a `Curve`. A new one gets a line in `MEASURES`.

Shapes: T recorded steps, n samples (batch streams have both views, n = 2B), d features.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.curve import Curve
from analysis.records import Records
from coupled import alignment
from coupled.config import Arm
from coupled.errors import UserError, unknown
from coupled.layout import labellings
from coupled.store import StoreError

_CHUNK_BYTES: Final = 32 << 20  # float64 features of one arm that are worked on at a time


class Features(NamedTuple):
    """Where the features of a source are recorded, and which split its samples are of."""

    stream: str
    column: str
    split: str


FEATURES: Final[dict[tuple[str, str], Features]] = {
    ("panel", "h"): Features("panel", "state.h", "test"),
    ("panel", "z"): Features("panel", "state.z", "test"),
    ("batch", "z"): Features("similarity", "batch.z", "train"),
    ("surrogate", "z"): Features("surrogate", "state.z", "train"),
}


def curve(records: Records, measure: str, arm: str, **options: Any) -> Curve:
    """The curve of a measure; options are the keyword arguments of its function, those of None are left out.

    Raises UserError for an unknown measure, arm or option and for what the run does not record.
    """
    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    function, spec = MEASURES[measure], records.arm(arm)
    taken = [name for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY]
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in taken:
            raise UserError(f"{measure} takes no {name}", "it takes " + (", ".join(taken) or "no options"))
    return function(records, arm, spec, **given)


def cka(
    records: Records,
    arm: str,
    spec: Arm,
    *,
    anchor: str | None = None,
    source: str = "panel",
    feature: str | None = None,
    debiased: bool = True,
) -> Curve:
    """Linear CKA of the arm's features with the anchor's, at every step that both have (theory of alignment: §6)."""

    def measured(x: Tensor, y: Tensor) -> Tensor:
        return alignment.linear_cka(x, y, debiased=debiased)

    estimator = f"{'debiased' if debiased else 'biased'} linear CKA"
    return _compared(records, "cka", arm, anchor or spec.anchor, source, feature, measured, estimator)


def rsa(
    records: Records,
    arm: str,
    spec: Arm,
    *,
    anchor: str | None = None,
    source: str = "panel",
    feature: str | None = None,
) -> Curve:
    """RSA (cosine similarities, Pearson correlation) of the arm's features with the anchor's."""
    estimator = "cosine + Pearson RSA"
    return _compared(records, "rsa", arm, anchor or spec.anchor, source, feature, alignment.rsa, estimator)


def weight_gap(records: Records, arm: str, spec: Arm, *, anchor: str | None = None) -> Curve:
    """Mean over encoder layers of the relative distance to the anchor's weights, range [0, 2] (P2's code)."""
    counted = [layer for layer in records.facts["layers"] if layer["in_weight_gap"]]
    estimator = f"mean over {len(counted)} encoder layers of |w-w'| / ((|w|+|w'|)/2)"
    return _of_weights(records, "weight_gap", arm, _recorded_anchor(arm, spec, anchor), counted, estimator)


def distance(records: Records, arm: str, spec: Arm, *, anchor: str | None = None) -> Curve:
    """Euclidean distance of all weights to the anchor's, projector included."""
    layers = records.facts["layers"]
    return _of_weights(records, "distance", arm, _recorded_anchor(arm, spec, anchor), layers, "|w-w'| of all weights")


def loss(records: Records, arm: str, spec: Arm) -> Curve:
    """The loss that the arm minimises, on its own batch similarities."""
    objective = str(spec.objective) if spec.objective == "ce" else f"{spec.objective}, tau {spec.temperature:g}"
    objective += "" if spec.lam is None else f", lambda {spec.lam:g}"
    objective += ", positive in the denominator" if spec.positive_in_denominator else ""
    return _of_batch(records, "loss", arm, "batch.loss", spec.labelling, objective, "the loss is not finite")


def gap(records: Records, arm: str, spec: Arm, *, labelling: str | None = None) -> Curve:
    """The exact loss gap CL − NSCL on the arm's own batch similarities; labelling: the arm's own unless given."""
    return _of_labels(records, "gap", arm, spec, labelling, "exact loss gap")


def mass(records: Records, arm: str, spec: Arm, *, labelling: str | None = None) -> Curve:
    """The mean softmax mass of same-class samples among the negatives; labelling: the arm's own unless given."""
    return _of_labels(records, "mass", arm, spec, labelling, "mean same-class softmax mass")


MEASURES: Final[dict[str, Callable[..., Curve]]] = {
    "cka": cka,
    "rsa": rsa,
    "weight_gap": weight_gap,
    "distance": distance,
    "loss": loss,
    "gap": gap,
    "mass": mass,
}


def _compared(
    records: Records,
    measure: str,
    arm: str,
    anchor: str | None,
    source: str,
    feature: str | None,
    function: Callable[[Tensor, Tensor], Tensor],
    estimator: str,
) -> Curve:
    feature = feature or ("h" if source == "panel" else "z")
    if (source, feature) not in FEATURES:
        raise UserError(f"{feature} of {source}", "recorded are " + ", ".join(f"{f} of {s}" for s, f in FEATURES))
    where = FEATURES[source, feature]
    if anchor is None:
        raise UserError(f"{arm} has no anchor", "it is what others are compared with", "name an anchor or another arm")
    records.arm(anchor)
    steps, values, n, d = [], [], 0, 0
    for at, x, y in _pairs(records, arm, anchor, where):
        n, d = x.shape[-2:]
        steps.append(at)
        values.append(function(x, y).numpy())
    return Curve(
        measure, arm, anchor, np.concatenate(steps), np.concatenate(values), n, d, feature, source, where.split, None,
        estimator, "0/0: a representation is constant over the samples",
    )  # fmt: skip


def _pairs(
    records: Records, arm: str, anchor: str, where: Features
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """(steps (k,), x (k, n, d), y (k, n, d)) in chunks that fit in memory, float64, checked to be finite."""
    own, other = (records.blocks(where.stream, name, where.column) for name in (arm, anchor))
    # Of a run still written one arm may be a shard ahead: the steps that both have count.
    for (steps, x), (others, y) in zip(own, other, strict=False):
        if len(steps) != len(others):
            raise StoreError(records.path, f"{where.stream}/{arm} and {anchor} have shards of different steps")
        size = max(1, _CHUNK_BYTES // (8 * math.prod(x.shape[1:])))
        for start in range(0, len(steps), size):
            chunk = slice(start, start + size)
            at = steps[chunk]
            yield at, _finite(arm, where, at, x[chunk]), _finite(anchor, where, at, y[chunk])


def _finite(arm: str, where: Features, steps: NDArray[np.int64], values: NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(values.astype(np.float64))
    finite = tensor.isfinite().all(-1).all(-1)
    if not finite.all():
        step = steps[int(finite.int().argmin())]
        raise UserError(
            f"{where.stream}/{arm} {where.column} is not finite at step {step}", "no measure is defined on it"
        )
    return tensor


def _recorded_anchor(arm: str, spec: Arm, anchor: str | None) -> str:
    if spec.anchor is None:
        raise UserError(f"{arm} has no anchor", "it is what others are compared with", "name another arm")
    if anchor not in (None, spec.anchor):
        raise UserError(f"weights of {arm} against {anchor}", f"recorded is its distance to {spec.anchor} alone")
    return spec.anchor


def _of_weights(
    records: Records, measure: str, arm: str, anchor: str, layers: list[dict[str, Any]], estimator: str
) -> Curve:
    steps, values = records.column("scalars", arm, f"state.{measure}")
    d = sum(math.prod(layer["shape"]) for layer in layers)
    return Curve(
        measure,
        arm,
        anchor,
        steps,
        values,
        None,
        d,
        None,
        "weights",
        None,
        None,
        estimator,
        "0/0: all weights are zero",
    )


def _of_batch(
    records: Records, measure: str, arm: str, column: str, labelling: str | None, estimator: str, undefined: str
) -> Curve:
    steps, values = records.column("scalars", arm, column)
    n, d = 2 * records.config.batches.size, records.config.model.projection_dim
    return Curve(measure, arm, None, steps, values, n, d, "z", "batch", "train", labelling, estimator, undefined)


def _of_labels(records: Records, measure: str, arm: str, spec: Arm, labelling: str | None, what: str) -> Curve:
    labelling = labelling or spec.labelling
    known = labellings(records.config)
    if not known:
        raise UserError(f"{measure} of {records.path}", "its data set has no labels", "ask for another measure")
    if labelling not in known:
        raise unknown("labelling of this run", str(labelling), known)
    estimator = f"{what}, tau {spec.temperature:g}"
    column = f"batch.{measure}.{labelling}"
    return _of_batch(
        records, measure, arm, column, labelling, estimator, "no anchor has a sample of another class in its batch"
    )
