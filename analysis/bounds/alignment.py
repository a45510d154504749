"""Biased CKA and RSA of recorded z with their lower bounds from the drift of the same Σ: docs/theory.md (34) to (37).

Shapes: z (T, n, d) of an arm and of its reference.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import torch

from analysis.runs.alignment import FeaturePair, drifts
from analysis.runs.curve import Curve
from analysis.runs.features import FEATURES
from analysis.runs.recorded import comparable
from analysis.runs.run import Run
from coupled.theory.bounds import p2_cka, p2_rsa, sharp_cka, sharp_rsa

SOURCES: Final = ("batch", "surrogate", "panel")
_VERY: Final = {
    "cka_biased": "a bound on biased CKA of this same Σ = z zᵀ; not on debiased CKA, and not on CKA of h",
    "rsa": "a bound on cosine + Pearson RSA of this same Σ",
}


def alignment_curves(run: Run, arm: str) -> Iterator[Curve]:
    """CKA (biased) and RSA of an arm with its reference on z, with both lower bounds, for every source recorded."""
    reference = run.arms[arm].reference
    for source in SOURCES:
        where = FEATURES[source, "z"]
        group = where.column.partition(".")[0]
        if (
            reference is not None
            and comparable(run, source, arm, reference)
            and run.schedules(where.stream, group)
            and not run.awaits(where.stream, arm, reference)
        ):
            yield from _of_source(run, arm, reference, source)


def _of_source(run: Run, arm: str, reference: str, source: str) -> Iterator[Curve]:
    options = {"arm": arm, "reference": reference, "source": source, "feature": "z"}
    apart = drifts(FeaturePair.of(run, arm, reference=reference, source=source, feature="z"))
    rho, rho_star, r, r_star = (torch.tensor(apart[name].values) for name in ("rho", "rho_star", "r", "r_star"))
    for measured, bounds in (
        (run.curve("cka", debiased=False, **options), {"P2": p2_cka(rho), "sharp": sharp_cka(rho_star)}),
        (run.curve("rsa", **options), {"P2": p2_rsa(r), "sharp": sharp_rsa(r_star)}),
    ):
        yield measured
        for name, bound in bounds.items():
            yield replace(
                measured,
                kind="lower bound",
                bound=name,
                values=bound.numpy(),
                estimator=f"{name} corollary, from the measured relative drift of Σ",
                flags=(_VERY[measured.measure],),
                interval=None,
                null=None,
            )
