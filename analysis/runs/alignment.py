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
from coupled.config import Arm
from coupled.errors import UserError, unknown
from coupled.reading.records import Records
from coupled.recording.schedule import due
from coupled.theory.scale import unit_rows

# Samples of a measure that holds all pairs, evenly spaced over the panel's ids. Ranks of pairs are sorted anew for
# every group left out: 128 samples are 8128 pairs.
_ALL_PAIRS: Final = 128
# Steps of a curve that get interval and null band: neighbours in time have nearly the same.
_BANDED: Final = 32
ILL_CONDITIONED: Final = "ill-conditioned"  # how a flag begins that says that digits are lost
# Groups of the jackknife: fewer for batches, compared at every step, and for measures that each group computes anew.
_GROUPS: Final = 16
_FEW_GROUPS: Final = 8
_CONSTANT: Final = "0/0: a representation is constant over the samples"


DRIFTS: Final = {
    "drift": "‖Σ-Σ'‖_F of the similarity matrices Σ = z zᵀ",
    "rho": "‖K-K'‖_F / ‖K'‖_F of the centred Σ, relative to the reference's",
    "rho_star": "‖K-K'‖_F of the centred Σ, relative to the larger norm",
    "r": "‖b-a‖ / ‖a‖ of the RDMs' upper triangles minus their means, relative to the reference's",
    "r_star": "‖b-a‖ of the RDMs' upper triangles minus their means, relative to the larger norm",
}


def cka(
    records: Records,
    arm: str,
    spec: Arm,
    *,
    reference: str | None = None,
    source: str = "panel",
    feature: str | None = None,
    debiased: bool = True,
) -> Curve:
    """Linear CKA of the arm's features with the reference's, at every step that both have (docs/theory.md (39)).

    Biased CKA is a measure of its own, "cka_biased": other numbers, which no figure may take for debiased ones.
    """
    kind, words = ("cka", "debiased linear CKA") if debiased else ("cka_biased", "biased linear CKA")
    return _estimated(records, kind, Compared.of(records, arm, spec, reference, source, feature), kind, words)


def rsa(
    records: Records,
    arm: str,
    spec: Arm,
    *,
    reference: str | None = None,
    source: str = "panel",
    feature: str | None = None,
    comparison: str = "pearson",
) -> Curve:
    """RSA of the arm's features with the reference's: cosine similarities, compared by Pearson's correlation.

    Or by Spearman's, a measure of its own ("rsa_spearman"), which needs all pairs: those of at most 128 samples, evenly
    spaced over the panel's ids.
    """
    if comparison not in ("pearson", "spearman"):
        raise unknown("comparison", comparison, ("pearson", "spearman"))
    most = _ALL_PAIRS if comparison == "spearman" else None
    what = Compared.of(records, arm, spec, reference, source, feature, most=most)
    if most is not None:
        return _estimated(records, "rsa_spearman", what, "spearman", "cosine + Spearman RSA")
    return _estimated(records, "rsa", what, "rsa", "cosine + Pearson RSA")


def knn_overlap(
    records: Records,
    arm: str,
    spec: Arm,
    *,
    reference: str | None = None,
    source: str = "panel",
    feature: str | None = None,
    k: int = 10,
) -> Curve:
    """Mean share of a sample's k nearest others (cosine) that are the same for arm and reference, range [0, 1].

    Of at most 128 samples, evenly spaced over the panel's ids, as all pairs are needed.
    """
    what = Compared.of(records, arm, spec, reference, source, feature, most=_ALL_PAIRS)
    return _estimated(records, "knn_overlap", what, "knn_overlap", f"overlap of the {k} nearest by cosine", k=k)


def procrustes(
    records: Records,
    arm: str,
    spec: Arm,
    *,
    reference: str | None = None,
    source: str = "panel",
    feature: str | None = None,
) -> Curve:
    """Orthogonal Procrustes distance of the centred, unit-norm features to the reference's, range [0, √2]."""
    what = Compared.of(records, arm, spec, reference, source, feature)
    return _estimated(records, "procrustes", what, "procrustes", "orthogonal Procrustes distance")


def gram_angle(
    records: Records,
    arm: str,
    spec: Arm,
    *,
    reference: str | None = None,
    source: str = "panel",
    feature: str | None = None,
) -> Curve:
    """Angle in radians between the two centred Gram matrices, [0, π/2]: the arc cosine of biased linear CKA."""
    own = cka(records, arm, spec, reference=reference, source=source, feature=feature, debiased=False)

    def turned(band: Band | None) -> Band | None:
        return None if band is None else Band(_arccos(band.high), _arccos(band.low), band.what)

    return replace(
        own,
        measure="gram_angle",
        values=_arccos(own.values),
        interval=turned(own.interval),
        null=turned(own.null),
        estimator="angle between centred Gram matrices: arccos of biased linear CKA",
    )


def drift_of(name: str) -> Callable[..., Curve]:
    """The measure `name` of `DRIFTS` as a function of records and arm; feature z, on which they are defined."""

    def drift(records: Records, arm: str, spec: Arm, *, reference: str | None = None, source: str = "panel") -> Curve:
        return drifts(records, arm, spec, reference=reference, source=source)[name]

    return drift


def drifts(
    records: Records, arm: str, spec: Arm, *, reference: str | None = None, source: str = "panel"
) -> dict[str, Curve]:
    """All of `DRIFTS` at once, of z: what docs/theory.md (34) to (37) are made of. 0 where Σ is equal."""
    what = Compared.of(records, arm, spec, reference, source, "z")
    return records.remembered(("drifts", arm, what.reference, source), lambda: _drifts(records, what))


def _drifts(records: Records, what: "Compared") -> dict[str, Curve]:
    parts = [(at, similarity_drift(y, x)) for at, x, y in what.blocks(records)]
    steps = np.concatenate([at for at, _ in parts])
    return {
        name: what.curve(name, steps, np.concatenate([np.asarray(getattr(part, name)) for _, part in parts]), words)
        for name, words in DRIFTS.items()
    }


@dataclass(frozen=True)
class Compared:
    """Which features of which two arms are compared, and on which of the recorded rows (None: on all)."""

    arm: str
    reference: str
    source: str
    feature: str
    where: Features
    n: int
    d: int
    rows: Tensor | None

    @classmethod
    def of(
        cls,
        records: Records,
        arm: str,
        spec: Arm,
        reference: str | None,
        source: str,
        feature: str | None,
        *,
        most: int | None = None,
    ) -> "Compared":
        """Raises UserError for what is not recorded, and for an arm without a reference."""
        feature = feature or ("h" if source == "panel" else "z")
        where = features(records, source, feature)
        reference = reference or spec.reference
        if reference is None:
            raise UserError(
                f"{arm} has no reference", "it is what others are compared with", "name a reference or another arm"
            )
        records.arm(reference)
        n, d = records.row_shape(where.stream, arm, where.column)
        rows = None if most is None else _spread(n, where.views, most)
        return cls(arm, reference, source, feature, where, n if rows is None else len(rows), d, rows)

    def blocks(self, records: Records, *, recorded: bool = False) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
        """(steps (k,), x (k, n, d) of the arm, y (k, n, d) of the reference), a few steps at a time.

        As recorded, but for z unless `recorded`: there in float64 and of norm 1, so that Σ = z zᵀ holds cosines.
        """
        for at, x, y in paired(records, self.arm, self.reference, self.where):
            a, b = (x, y) if self.rows is None else (x[:, self.rows], y[:, self.rows])
            yield (at, unit_rows(a), unit_rows(b)) if self.feature == "z" and not recorded else (at, a, b)

    def curve(
        self, measure: str, steps: NDArray[np.int64], values: NDArray[np.float64], estimator: str, **bands: Any
    ) -> Curve:
        """The curve of some values over steps."""
        return Curve(
            measure, self.arm, self.reference, steps, values, self.n, self.d, self.feature, self.source,
            self.where.split, None, estimator, _CONSTANT, **bands,
        )  # fmt: skip


def _spread(n: int, views: int, most: int) -> Tensor:
    """Rows of at most `most` samples, evenly spaced, with all their views."""
    samples = n // views
    chosen = torch.arange(min(samples, most)) * samples // min(samples, most)
    return torch.cat([chosen + view * samples for view in range(views)])


def _estimated(records: Records, measure: str, what: Compared, kind: str, estimator: str, **options: Any) -> Curve:
    # What comes of the same sums is asked for together: of z, whose rows are unit vectors, CKA and RSA.
    joint = ("cka", "cka_biased", "rsa") if what.feature == "z" else ("cka", "cka_biased")
    kinds = joint if kind in joint else (kind,)
    key = ("estimates", kinds, what.arm, what.reference, what.source, what.feature, *options.items())
    parts = records.remembered(key, lambda: _all_estimates(records, what, kinds, options))
    steps = np.concatenate([at for at, _ in parts])
    found = [part[kind] for _, part in parts]
    ill = _joined(found, "ill_conditioned")
    flags = (f"{ILL_CONDITIONED} from step {steps[ill][0]}: similarities are nearly equal",) if ill.any() else ()
    interval = Band(_joined(found, "low"), _joined(found, "high"), found[0].interval)
    null = Band(_joined(found, "null_low"), _joined(found, "null_high"), found[0].null)
    values = _joined(found, "value")
    return what.curve(measure, steps, values, estimator, interval=interval, null=null, flags=flags)


def _all_estimates(
    records: Records, what: Compared, kinds: tuple[str, ...], options: dict[str, Any]
) -> list[tuple[NDArray[np.int64], dict[str, Estimate]]]:
    views = what.where.views
    groups = _FEW_GROUPS if views == 2 or what.rows is not None or "procrustes" in kinds else _GROUPS
    options = {"views": views, "groups": groups, "unit": "rsa" in kinds, **options}
    banded = _banded(records, what)
    # These take cosines themselves, and from the recorded precision how far they are rounded.
    recorded = bool({"spearman", "knn_overlap"} & set(kinds))
    return [
        (at, estimates(kinds, x, y, banded=None if banded is None else torch.tensor(np.isin(at, banded)), **options))
        for at, x, y in what.blocks(records, recorded=recorded)
    ]


def _banded(records: Records, what: Compared) -> NDArray[np.int64] | None:
    """The steps that get interval and null band: of a stream recorded at many, some evenly spaced in log(step)."""
    group = what.where.column.partition(".")[0]
    some = list(islice(due(records.config, what.where.stream, group), _BANDED + 1))
    if len(some) <= _BANDED:
        return None
    own, other = (
        np.concatenate([at for at, _ in records.blocks(what.where.stream, arm, what.where.column)])
        for arm in (what.arm, what.reference)
    )
    recorded = np.intersect1d(own, other)
    wanted = np.geomspace(1, max(recorded[-1], 1), _BANDED)
    return np.union1d(recorded[:1], recorded[np.searchsorted(recorded, wanted).clip(max=len(recorded) - 1)])


def _joined(found: Sequence[Estimate], field: str) -> NDArray[Any]:
    return np.concatenate([getattr(part, field) for part in found])


def _arccos(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # CKA of equal features is 1 to rounding, on either side.
    return np.arccos(np.clip(values, 0.0, 1.0))
