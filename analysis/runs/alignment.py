"""Measures of alignment as curves: the features of an arm beside its reference's, with interval and null band.

Shapes: T recorded steps, n rows (batch and surrogate have two views of a sample, n = 2B, view 1 first), d features.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.arrays.similarity_drift import similarity_drift
from analysis.runs.curve import Band, Curve
from analysis.runs.features import Features, features, paired
from analysis.statistics.estimates import Estimate, estimates
from coupled.config.traits import other_inputs
from coupled.errors import UserError, unknown
from coupled.reading.records import Records
from coupled.recording.schedule import due
from coupled.theory.scale import unit_rows

# Samples of a measure that holds all pairs, evenly spaced over the panel's ids. Ranks of pairs are sorted anew for
# every group left out: 128 samples are 8128 pairs.
_ALL_PAIRS: Final = 128
# Steps of a curve that get interval and null band: neighbours in time have nearly the same.
_BANDED: Final = 32
ILL_CONDITIONED_FLAG: Final = "ill-conditioned"  # how a flag begins that says that digits are lost
# Groups of the jackknife: fewer for batches, compared at every step, and for measures that each group computes anew.
_GROUPS: Final = 16
_FEW_GROUPS: Final = 8

ESTIMATORS: Final = {
    "cka": "debiased linear CKA",
    "cka_biased": "biased linear CKA",
    "rsa": "cosine + Pearson RSA",
}
CONSTANT: Final = "0/0: a representation is constant over the samples"  # why a measure of alignment is undefined
DRIFTS: Final = {
    "drift": "‖Σ-Σ'‖_F of the similarity matrices Σ = z zᵀ",
    "rho": "‖K-K'‖_F / ‖K'‖_F of the centred Σ, relative to the reference's",
    "rho_star": "‖K-K'‖_F of the centred Σ, relative to the larger norm",
    "r": "‖b-a‖ / ‖a‖ of the RDMs' upper triangles minus their means, relative to the reference's",
    "r_star": "‖b-a‖ of the RDMs' upper triangles minus their means, relative to the larger norm",
}


@dataclass(frozen=True, eq=False)
class FeaturePair:
    """The recorded features of an arm and of its reference: what measures of alignment compare.

    `rows` are those of the recorded rows that count (None: all), n their number, d the dimensions of the arm's
    features.
    """

    records: Records
    arm: str
    reference: str
    source: str
    feature: str
    where: Features
    n: int
    d: int
    rows: Tensor | None = None

    @classmethod
    def of(
        cls,
        records: Records,
        arm: str,
        *,
        reference: str | None = None,
        source: str = "panel",
        feature: str | None = None,
    ) -> "FeaturePair":
        """The pair of an arm; by default against its own reference, and of h on the panel, of z elsewhere.

        Raises UserError for what is not recorded, for an arm without a reference, and for batches of two arms that see
        other inputs.
        """
        feature = feature or ("h" if source == "panel" else "z")
        where = features(records, source, feature)
        reference = reference or records.arm(arm).reference
        if reference is None:
            raise UserError(
                f"{arm} has no reference", "it is the reference of the others", "name a reference or another arm"
            )
        records.arm(reference)
        if source == "batch" and (apart := other_inputs(records.config.arms, arm, reference)):
            raise UserError(f"batches of {arm} against {reference}", apart, "compare them on the panel")
        n, d = records.row_shape(where.stream, arm, where.column)
        return cls(records=records, arm=arm, reference=reference, source=source, feature=feature, where=where, n=n, d=d)

    def at_most(self, samples: int) -> "FeaturePair":
        """The same pair on at most so many samples, evenly spaced, with all their views."""
        rows = _spread(self.n, self.where.views, samples)
        return replace(self, n=len(rows), rows=rows)

    def blocks(self, *, recorded: bool = False) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
        """(steps (k,), x (k, n, d) of the arm, y (k, n, d) of the reference), a few steps at a time.

        As recorded, but for z unless `recorded`: there in float64 and of norm 1, so that Σ = z zᵀ holds cosines.
        """
        for at, x, y in paired(self.records, self.arm, self.reference, self.where):
            a, b = (x, y) if self.rows is None else (x[:, self.rows], y[:, self.rows])
            yield (at, unit_rows(a), unit_rows(b)) if self.feature == "z" and not recorded else (at, a, b)

    def curve(
        self, measure: str, steps: NDArray[np.int64], values: NDArray[np.float64], *, estimator: str, **bands: Any
    ) -> Curve:
        """The curve of a measure of this pair; `bands` are its interval, null band and flags."""
        return Curve(
            measure=measure,
            arm=self.arm,
            reference=self.reference,
            steps=steps,
            values=values,
            n=self.n,
            d=self.d,
            feature=self.feature,
            source=self.source,
            split=self.where.split,
            labelling=None,
            estimator=estimator,
            undefined=CONSTANT,
            **bands,
        )


def cka(pair: FeaturePair, *, debiased: bool = True) -> Curve:
    """Linear CKA of the arm's features with the reference's, at every step that both have (docs/theory.md (39)).

    Biased CKA is a measure of its own, "cka_biased": other numbers, which no figure may take for debiased ones.
    """
    measure = "cka" if debiased else "cka_biased"
    return _estimated(pair, measure, ESTIMATORS[measure])


def rsa(pair: FeaturePair, *, comparison: str = "pearson") -> Curve:
    """RSA of the arm's features with the reference's: cosine similarities, compared by Pearson's correlation.

    Or by Spearman's, a measure of its own ("rsa_spearman"), which needs all pairs: those of at most 128 samples, evenly
    spaced over the panel's ids.
    """
    if comparison == "pearson":
        return _estimated(pair, "rsa", ESTIMATORS["rsa"])
    if comparison == "spearman":
        ranked = _estimated(pair.at_most(_ALL_PAIRS), "spearman", "cosine + Spearman RSA")
        return replace(ranked, measure="rsa_spearman")
    raise unknown("comparison", comparison, ("pearson", "spearman"))


def knn_overlap(pair: FeaturePair, *, k: int = 10) -> Curve:
    """Mean share of a sample's k nearest others (cosine) that are the same for arm and reference, range [0, 1].

    Of at most 128 samples, evenly spaced over the panel's ids, as all pairs are needed.
    """
    return _estimated(pair.at_most(_ALL_PAIRS), "knn_overlap", f"overlap of the {k} nearest by cosine", k=k)


def procrustes(pair: FeaturePair) -> Curve:
    """Orthogonal Procrustes distance of the centred, unit-norm features to the reference's, range [0, √2]."""
    return _estimated(pair, "procrustes", "orthogonal Procrustes distance")


def gram_angle(pair: FeaturePair) -> Curve:
    """Angle in radians between the two centred Gram matrices, [0, π/2]: the arc cosine of biased linear CKA.

    docs/theory.md (48).
    """
    biased = cka(pair, debiased=False)

    def turned(band: Band | None) -> Band | None:
        return None if band is None else Band(_arccos(band.high), _arccos(band.low), band.what)

    return replace(
        biased,
        measure="gram_angle",
        values=_arccos(biased.values),
        interval=turned(biased.interval),
        null=turned(biased.null),
        estimator="angle between centred Gram matrices: arccos of biased linear CKA",
    )


def drift_of(name: str) -> Callable[..., Curve]:
    """The measure `name` of `DRIFTS`, by itself."""
    return lambda pair: drifts(pair)[name]


def drifts(pair: FeaturePair) -> dict[str, Curve]:
    """All of `DRIFTS` at once, of z: docs/theory.md (34) to (37) bound alignment by them. 0 where Σ is equal."""
    assert pair.feature == "z", "Σ = z zᵀ"
    key = ("drifts", pair.arm, pair.reference, pair.source)
    return pair.records.remembered(key, lambda: _drifts(pair))


def _drifts(pair: FeaturePair) -> dict[str, Curve]:
    parts = [(at, similarity_drift(y, x)) for at, x, y in pair.blocks()]
    steps = np.concatenate([at for at, _ in parts])
    return {
        name: pair.curve(
            name, steps, np.concatenate([np.asarray(getattr(part, name)) for _, part in parts]), estimator=estimator
        )
        for name, estimator in DRIFTS.items()
    }


def _spread(n: int, views: int, most: int) -> Tensor:
    """Rows of at most `most` samples, evenly spaced, with all their views."""
    samples = n // views
    chosen = torch.arange(min(samples, most)) * samples // min(samples, most)
    return torch.cat([chosen + view * samples for view in range(views)])


def _estimated(pair: FeaturePair, measure: str, estimator: str, **options: Any) -> Curve:
    """The curve of a measure of `analysis.statistics.estimates`, with interval and null band."""
    # Measures that share their sums are estimated together: both CKA, and RSA too of z, whose rows are unit vectors.
    joint = ("cka", "cka_biased", "rsa") if pair.feature == "z" else ("cka", "cka_biased")
    measures = joint if measure in joint else (measure,)
    key = ("estimates", measures, pair.arm, pair.reference, pair.source, pair.feature, *options.items())
    blocks = pair.records.remembered(key, lambda: _all_estimates(pair, measures, options))
    steps = np.concatenate([at for at, _ in blocks])
    parts = [by_measure[measure] for _, by_measure in blocks]
    ill = _joined(parts, "ill_conditioned")
    flags = (f"{ILL_CONDITIONED_FLAG} from step {steps[ill][0]}: similarities are nearly equal",) if ill.any() else ()
    interval = Band(_joined(parts, "low"), _joined(parts, "high"), parts[0].interval)
    null = Band(_joined(parts, "null_low"), _joined(parts, "null_high"), parts[0].null)
    values = _joined(parts, "value")
    return pair.curve(measure, steps, values, estimator=estimator, interval=interval, null=null, flags=flags)


def _all_estimates(
    pair: FeaturePair, measures: tuple[str, ...], options: dict[str, Any]
) -> list[tuple[NDArray[np.int64], dict[str, Estimate]]]:
    views = pair.where.views
    groups = _FEW_GROUPS if views == 2 or pair.rows is not None or "procrustes" in measures else _GROUPS
    options = {"views": views, "groups": groups, "unit": "rsa" in measures, **options}
    where = banded(pair)
    # These take cosines themselves, and read from the recorded precision how far those are rounded.
    recorded = bool({"spearman", "knn_overlap"} & set(measures))
    return [
        (at, estimates(measures, x, y, banded=None if where is None else torch.tensor(np.isin(at, where)), **options))
        for at, x, y in pair.blocks(recorded=recorded)
    ]


def banded(pair: FeaturePair) -> NDArray[np.int64] | None:
    """The steps that get interval and null band: of a stream recorded at many, some evenly spaced in log(step)."""
    records, where = pair.records, pair.where
    group = where.column.partition(".")[0]
    some = list(islice(due(records.config, where.stream, group), _BANDED + 1))
    if len(some) <= _BANDED:
        return None
    own, other = (
        np.concatenate([at for at, _ in records.blocks(where.stream, arm, where.column)])
        for arm in (pair.arm, pair.reference)
    )
    recorded = np.intersect1d(own, other)
    wanted = np.geomspace(1, max(recorded[-1], 1), _BANDED)
    return np.union1d(recorded[:1], recorded[np.searchsorted(recorded, wanted).clip(max=len(recorded) - 1)])


def _joined(parts: Sequence[Estimate], field: str) -> NDArray[Any]:
    return np.concatenate([getattr(part, field) for part in parts])


def _arccos(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # CKA of equal features is 1 to rounding, on either side.
    return np.arccos(np.clip(values, 0.0, 1.0))
