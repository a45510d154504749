"""Measures of a run, each a function from records to a `Curve`. A new one gets a line in `MEASURES`; a user's own is
registered (`analysis.runs.register`).

A measure takes records, an arm and its spec, and keyword options. `OfFeatures` makes one of a measure that compares the
features of two arms (`analysis.runs.alignment`). Shapes: T recorded steps, n = 2B rows of a batch.
"""

import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from analysis.arrays.similarity_drift import similarity_drift
from analysis.runs import alignment, own
from analysis.runs.alignment import FeaturePair
from analysis.runs.curve import Curve
from analysis.runs.labels import is_permuted, own_labelling
from analysis.runs.own_measures import registered
from coupled.config import Arm
from coupled.config.own_streams import PREFIX, stream_name
from coupled.config.traits import traits_of
from coupled.errors import UserError, unknown
from coupled.objectives.registry import Objective
from coupled.reading.records import Records
from coupled.recording.layout import labellings


def curve(records: Records, measure: str, arm: str, **options: Any) -> Curve:
    """The curve of a measure; options are the keyword arguments of its function, those of None are left out.

    "own.<name>" is a stream of the user's own. Raises UserError for an unknown measure, arm or option and for what the
    run does not record.
    """
    function, spec = _function_of(measure, records.config.record.own), records.arm(arm)
    options = _with_reference(options)
    allowed = _options_of(function)
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in allowed:
            raise UserError(f"{measure} takes no {name}", "it takes " + (", ".join(allowed) or "no options"))
    return function(records, arm, spec, **given)


def _function_of(measure: str, streams: Iterable[str]) -> Callable[..., Curve]:
    """The function of a measure: a built-in one, a user's own, or that of a user's stream; `streams`: of the run."""
    if measure in MEASURES:
        return MEASURES[measure]
    if measure.startswith(PREFIX):
        return _own(measure)
    if measure not in registered:
        raise unknown("measure", measure, [*MEASURES, *registered, *map(stream_name, streams)])
    of_user = registered[measure]
    return OfFeatures(of_user.labelled_curve if of_user.labelled else of_user.curve, usual=of_user.feature)


def _with_reference(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with `anchor`, as the reference was called up to format 2, under its new name."""
    if options.get("anchor") is None:
        return {key: value for key, value in options.items() if key != "anchor"}
    if options.get("reference") is not None:
        raise UserError("anchor and reference", "they are one option, now called reference", "leave anchor out")
    warnings.warn("anchor: this option is now called reference", FutureWarning, stacklevel=4)
    return {**{key: value for key, value in options.items() if key != "anchor"}, "reference": options["anchor"]}


@dataclass(frozen=True)
class OfFeatures:
    """A measure of a `FeaturePair` as one of records and arm, with the options that choose the pair beside its own.

    `only` is the feature that it is defined on, None if on all; `usual` that of the panel where none is asked for.
    """

    function: Callable[..., Curve]
    only: str | None = None
    usual: str | None = None

    def __call__(
        self,
        records: Records,
        arm: str,
        spec: Arm,
        *,
        reference: str | None = None,
        source: str = "panel",
        feature: str | None = None,
        **options: Any,
    ) -> Curve:
        feature = self.only or feature or (self.usual if source == "panel" else None)
        pair = FeaturePair.of(records, arm, reference=reference, source=source, feature=feature)
        return self.function(pair, **options)


def _options_of(function: Callable[..., Curve]) -> tuple[str, ...]:
    if isinstance(function, OfFeatures):
        choices = ("reference", "source") if function.only else ("reference", "source", "feature")
        return (*choices, *_options_of(function.function))
    parameters = inspect.signature(function).parameters
    return tuple(name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY)


def weight_gap(records: Records, arm: str, spec: Arm, *, reference: str | None = None) -> Curve:
    """Mean over encoder layers of the relative distance to the reference's weights, [0, 2]: docs/theory.md (57)."""
    counted = [layer for layer in records.facts["layers"] if layer["in_weight_gap"]]
    return _of_weights(
        records,
        measure="weight_gap",
        arm=arm,
        reference=_recorded_reference(arm, spec, reference),
        d=_weights_in(counted),
        estimator=f"mean over {len(counted)} encoder layers of |w-w'| / ((|w|+|w'|)/2)",
    )


def distance(records: Records, arm: str, spec: Arm, *, reference: str | None = None) -> Curve:
    """Euclidean distance of all weights to the reference's, projector included."""
    return _of_weights(
        records,
        measure="distance",
        arm=arm,
        reference=_recorded_reference(arm, spec, reference),
        d=_weights_in(records.facts["layers"]),
        estimator="|w-w'| of all weights",
    )


def motion(records: Records, arm: str, spec: Arm) -> Curve:
    """How far all the arm's weights are from its own initial ones: docs/theory.md (62)."""
    return _of_weights(
        records,
        stream="motion",
        column="moved",
        measure="motion",
        arm=arm,
        reference=None,
        d=_weights_in(records.facts["layers"]),
        estimator="|w_t-w_0| of all weights",
    )


def motion_cosine(records: Records, arm: str, spec: Arm, *, reference: str | None = None) -> Curve:
    """The cosine of the arm's way from its start with its reference's way, [-1, 1]: docs/theory.md (62)."""
    return _of_weights(
        records,
        stream="motion",
        column="cosine",
        measure="motion_cosine",
        arm=arm,
        reference=_recorded_reference(arm, spec, reference),
        d=_weights_in(records.facts["layers"]),
        estimator="cosine of w_t-w_0 of all weights",
        undefined="one of the two has not moved",
    )


def similarity_motion(records: Records, arm: str, spec: Arm) -> Curve:
    """How far the arm's Σ of the panel is from the first one recorded: docs/theory.md (32) over the larger norm."""
    pair = FeaturePair.of(records, arm, reference=arm, feature="z")
    steps, parts, start = [], [], None
    for at, z, _ in pair.blocks():
        start = z[:1] if start is None else start
        steps.append(at)
        parts.append(similarity_drift(start.expand_as(z), z).rho_star.numpy())
    at = np.concatenate(steps)
    words = f"‖K-K'‖_F of the centred Σ and that of step {at[0]}, relative to the larger norm"
    return replace(pair.curve("similarity_motion", at, np.concatenate(parts), estimator=words), reference=None)


def loss(records: Records, arm: str, spec: Arm) -> Curve:
    """The loss that the arm minimises, on its own batch similarities."""
    terms = traits_of(records.arms, arm).terms
    losses = [_loss_in_words(term.objective, term.temperature) for term in terms]
    if len(terms) > 1:
        losses = [f"{term.weight:+g} x ({words})" for term, words in zip(terms, losses, strict=True)]
    return _of_batch(
        records,
        column="batch.loss",
        measure="loss",
        arm=arm,
        labelling=own_labelling(records.arms, arm),
        estimator=" ".join(losses),
        undefined="the loss is not finite",
    )


def _loss_in_words(objective: Objective, temperature: float) -> str:
    words = objective.name if objective.name == "ce" else f"{objective.name}, tau {temperature:g}"
    words += "" if objective.lam is None else f", lambda {objective.lam:g}"
    return words + (", positive in the denominator" if objective.positive_in_denominator else "")


def gap(records: Records, arm: str, spec: Arm, *, labelling: str | None = None) -> Curve:
    """The exact loss gap CL − NSCL on the arm's own batch similarities; labelling: the arm's own unless given, which
    of a placebo are the permuted ones, "size, permuted".
    """
    return _of_labels(records, arm, labelling, measure="gap", quantity="exact loss gap")


def mass(records: Records, arm: str, spec: Arm, *, labelling: str | None = None) -> Curve:
    """The mean softmax mass of same-class samples among the negatives; labelling as for `gap`."""
    return _of_labels(records, arm, labelling, measure="mass", quantity="mean same-class softmax mass")


MEASURES: Final[dict[str, Callable[..., Curve]]] = {
    "cka": OfFeatures(alignment.cka),
    "rsa": OfFeatures(alignment.rsa),
    "knn_overlap": OfFeatures(alignment.knn_overlap),
    "procrustes": OfFeatures(alignment.procrustes),
    "gram_angle": OfFeatures(alignment.gram_angle),
    **{name: OfFeatures(alignment.drift_of(name), only="z") for name in alignment.DRIFTS},
    "weight_gap": weight_gap,
    "distance": distance,
    "motion": motion,
    "motion_cosine": motion_cosine,
    "similarity_motion": similarity_motion,
    "loss": loss,
    "gap": gap,
    "mass": mass,
}


def _own(measure: str) -> Callable[..., Curve]:
    return lambda records, arm, spec: own.curve(records, measure, arm)


def _recorded_reference(arm: str, spec: Arm, reference: str | None) -> str:
    if spec.reference is None:
        raise UserError(f"{arm} has no reference", "it is the reference of the others", "name another arm")
    if reference not in (None, spec.reference):
        raise UserError(f"weights of {arm} against {reference}", f"recorded are they against {spec.reference} alone")
    return spec.reference


def _weights_in(layers: list[dict[str, Any]]) -> int:
    return sum(math.prod(layer["shape"]) for layer in layers)


def _of_weights(
    records: Records,
    *,
    measure: str,
    arm: str,
    reference: str | None,
    d: int,
    estimator: str,
    stream: str = "scalars",
    column: str = "",
    undefined: str = "0/0: all weights are zero",
) -> Curve:
    steps, values = records.column(stream, arm, f"state.{column or measure}")
    return Curve(
        measure=measure,
        arm=arm,
        reference=reference,
        steps=steps,
        values=values,
        n=None,
        d=d,
        feature=None,
        source="weights",
        split=None,
        labelling=None,
        estimator=estimator,
        undefined=undefined,
    )


def _of_batch(
    records: Records, *, column: str, measure: str, arm: str, labelling: str | None, estimator: str, undefined: str
) -> Curve:
    steps, values = records.column("scalars", arm, column)
    return Curve(
        measure=measure,
        arm=arm,
        reference=None,
        steps=steps,
        values=values,
        n=2 * records.config.batches.size,
        d=records.config.model.projection_dim,
        feature="z",
        source="batch",
        split="train",
        labelling=labelling,
        estimator=estimator,
        undefined=undefined,
    )


def _of_labels(records: Records, arm: str, labelling: str | None, *, measure: str, quantity: str) -> Curve:
    known, own = labellings(records.config), own_labelling(records.arms, arm)
    if not known:
        raise UserError(f"{measure} of {records.path}", "its data set has no labels", "ask for another measure")
    known += [own] if own is not None and own not in known else []
    labelling = labelling or own
    if labelling not in known:
        raise unknown("labelling of this run", str(labelling), known)
    return _of_batch(
        records,
        column=f"batch.permuted_{measure}" if is_permuted(labelling) else f"batch.{measure}.{labelling}",
        measure=measure,
        arm=arm,
        labelling=labelling,
        estimator=f"{quantity}, tau {records.arm(arm).temperature:g}",
        undefined="no anchor has a sample of another class in its batch",
    )
