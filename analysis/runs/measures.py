"""Measures of a run, each a function from records to a `Curve`. A new one gets a line in `MEASURES`.

Those that compare features are in `analysis.aligned`. Shapes: T recorded steps, n = 2B rows of a batch.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any, Final

from analysis.runs import alignment
from analysis.runs.curve import Curve
from coupled.config import Arm
from coupled.errors import UserError, unknown
from coupled.reading.records import Records
from coupled.recording.layout import labellings


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


def weight_gap(records: Records, arm: str, spec: Arm, *, reference: str | None = None) -> Curve:
    """Mean over encoder layers of the relative distance to the reference's weights, [0, 2]: docs/theory.md (57)."""
    counted = [layer for layer in records.facts["layers"] if layer["in_weight_gap"]]
    estimator = f"mean over {len(counted)} encoder layers of |w-w'| / ((|w|+|w'|)/2)"
    return _of_weights(records, "weight_gap", arm, _recorded_reference(arm, spec, reference), counted, estimator)


def distance(records: Records, arm: str, spec: Arm, *, reference: str | None = None) -> Curve:
    """Euclidean distance of all weights to the reference's, projector included."""
    layers = records.facts["layers"]
    return _of_weights(
        records, "distance", arm, _recorded_reference(arm, spec, reference), layers, "|w-w'| of all weights"
    )


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
    "cka": alignment.cka,
    "rsa": alignment.rsa,
    "knn_overlap": alignment.knn_overlap,
    "procrustes": alignment.procrustes,
    "gram_angle": alignment.gram_angle,
    **{name: alignment.drift_of(name) for name in alignment.DRIFTS},
    "weight_gap": weight_gap,
    "distance": distance,
    "loss": loss,
    "gap": gap,
    "mass": mass,
}


def _recorded_reference(arm: str, spec: Arm, reference: str | None) -> str:
    if spec.reference is None:
        raise UserError(f"{arm} has no reference", "it is what others are compared with", "name another arm")
    if reference not in (None, spec.reference):
        raise UserError(f"weights of {arm} against {reference}", f"recorded is its distance to {spec.reference} alone")
    return spec.reference


def _of_weights(
    records: Records, measure: str, arm: str, reference: str, layers: list[dict[str, Any]], estimator: str
) -> Curve:
    steps, values = records.column("scalars", arm, f"state.{measure}")
    d = sum(math.prod(layer["shape"]) for layer in layers)
    return Curve(
        measure,
        arm,
        reference,
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
