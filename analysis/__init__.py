"""From the records and kept checkpoints of a run to curves, tables and figures.

`open_run(path).curve("cka", arm="nscl")` is the start.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.aggregation.gap import Gap as Gap
    from analysis.aggregation.points import aggregate as aggregate
    from analysis.aggregation.points import points as points
    from analysis.aggregation.points import points_by_config as points_by_config
    from analysis.aggregation.points import shared_range as shared_range
    from analysis.aggregation.seeds import Contrast as Contrast
    from analysis.aggregation.seeds import Mean as Mean
    from analysis.aggregation.seeds import contrast as contrast
    from analysis.aggregation.seeds import trend as trend
    from analysis.aggregation.significance import significance as significance
    from analysis.aggregation.summary import Summary as Summary
    from analysis.aggregation.summary import summaries as summaries
    from analysis.arrays.alignment import IllConditionedWarning as IllConditionedWarning
    from analysis.arrays.alignment import knn_overlap as knn_overlap
    from analysis.arrays.alignment import linear_cka as linear_cka
    from analysis.arrays.alignment import procrustes_distance as procrustes_distance
    from analysis.arrays.alignment import rsa as rsa
    from analysis.arrays.alignment import similarity_drift as similarity_drift
    from analysis.arrays.axes import Axes as Axes
    from analysis.arrays.axes import ClassPairs as ClassPairs
    from analysis.arrays.axes import decision_axes as decision_axes
    from analysis.arrays.collapse import Simplex as Simplex
    from analysis.arrays.collapse import augmentation_collapse as augmentation_collapse
    from analysis.arrays.collapse import effective_rank as effective_rank
    from analysis.arrays.collapse import simplex_deviation as simplex_deviation
    from analysis.arrays.collapse import within_class_collapse as within_class_collapse
    from analysis.arrays.geometry import cdnv as cdnv
    from analysis.arrays.geometry import directional_cdnv as directional_cdnv
    from analysis.arrays.optimum import ClassGeometry as ClassGeometry
    from analysis.arrays.optimum import class_geometry as class_geometry
    from analysis.arrays.similarity_drift import SimilarityDrift as SimilarityDrift
    from analysis.bounds import bounds as bounds
    from analysis.claims import Finding as Finding
    from analysis.claims import claims as claims
    from analysis.curves import curves as curves
    from analysis.divergence import divergence as divergence
    from analysis.divergence.growth import Growth as Growth
    from analysis.divergence.growth import growth as growth
    from analysis.divergence.layers import LayerMap as LayerMap
    from analysis.divergence.layers import layers as layers
    from analysis.evaluation.accuracy import Accuracies as Accuracies
    from analysis.evaluation.accuracy import accuracy as accuracy
    from analysis.evaluation.alignment import alignment as alignment
    from analysis.evaluation.alignment.models import compare as compare
    from analysis.evaluation.features import Evaluation as Evaluation
    from analysis.evaluation.few_shot import FewShot as FewShot
    from analysis.evaluation.few_shot import few_shot as few_shot
    from analysis.evaluation.geometry import geometry as geometry
    from analysis.evaluation.losses import losses as losses
    from analysis.evaluation.picture import Pictures as Pictures
    from analysis.evaluation.picture import picture as picture
    from analysis.evaluation.probe import probe as probe
    from analysis.evaluation.probe.curves import AccuracyCurve as AccuracyCurve
    from analysis.foreign import Origin as Origin
    from analysis.foreign import import_checkpoints as import_checkpoints
    from analysis.output.csv import write_csv as write_csv
    from analysis.output.files import results_in as results_in
    from analysis.output.parquet import write_parquet as write_parquet
    from analysis.response import Response as Response
    from analysis.response import response as response
    from analysis.runs.curve import Curve as Curve
    from analysis.runs.listed import Runs as Runs
    from analysis.runs.listed import runs as runs
    from analysis.runs.register import register_measure as register_measure
    from analysis.runs.run import Run as Run
    from analysis.runs.run import open_run as open_run
    from analysis.runs.seeds import over_seeds as over_seeds
    from analysis.statistics.estimates import Estimate as Estimate
    from analysis.statistics.estimates import estimate as estimate

# Lazily: `coupled-analyze --help` must not load torch.
_HOMES = {
    "Accuracies": "analysis.evaluation.accuracy",
    "AccuracyCurve": "analysis.evaluation.probe.curves",
    "Axes": "analysis.arrays.axes",
    "ClassGeometry": "analysis.arrays.optimum",
    "ClassPairs": "analysis.arrays.axes",
    "Contrast": "analysis.aggregation.seeds",
    "Curve": "analysis.runs.curve",
    "Estimate": "analysis.statistics.estimates",
    "Evaluation": "analysis.evaluation.features",
    "FewShot": "analysis.evaluation.few_shot",
    "Finding": "analysis.claims",
    "Gap": "analysis.aggregation.gap",
    "Growth": "analysis.divergence.growth",
    "IllConditionedWarning": "analysis.arrays.alignment",
    "LayerMap": "analysis.divergence.layers",
    "Mean": "analysis.aggregation.seeds",
    "Origin": "analysis.foreign",
    "Pictures": "analysis.evaluation.picture",
    "Response": "analysis.response",
    "Run": "analysis.runs.run",
    "Runs": "analysis.runs.listed",
    "SimilarityDrift": "analysis.arrays.similarity_drift",
    "Simplex": "analysis.arrays.collapse",
    "Summary": "analysis.aggregation.summary",
    "accuracy": "analysis.evaluation.accuracy",
    "aggregate": "analysis.aggregation.points",
    "alignment": "analysis.evaluation.alignment",
    "augmentation_collapse": "analysis.arrays.collapse",
    "bounds": "analysis.bounds",
    "cdnv": "analysis.arrays.geometry",
    "claims": "analysis.claims",
    "class_geometry": "analysis.arrays.optimum",
    "compare": "analysis.evaluation.alignment.models",
    "contrast": "analysis.aggregation.seeds",
    "curves": "analysis.curves",
    "decision_axes": "analysis.arrays.axes",
    "directional_cdnv": "analysis.arrays.geometry",
    "divergence": "analysis.divergence",
    "effective_rank": "analysis.arrays.collapse",
    "estimate": "analysis.statistics.estimates",
    "few_shot": "analysis.evaluation.few_shot",
    "geometry": "analysis.evaluation.geometry",
    "growth": "analysis.divergence.growth",
    "import_checkpoints": "analysis.foreign",
    "knn_overlap": "analysis.arrays.alignment",
    "layers": "analysis.divergence.layers",
    "linear_cka": "analysis.arrays.alignment",
    "losses": "analysis.evaluation.losses",
    "open_run": "analysis.runs.run",
    "over_seeds": "analysis.runs.seeds",
    "picture": "analysis.evaluation.picture",
    "points": "analysis.aggregation.points",
    "points_by_config": "analysis.aggregation.points",
    "probe": "analysis.evaluation.probe",
    "procrustes_distance": "analysis.arrays.alignment",
    "register_measure": "analysis.runs.register",
    "response": "analysis.response",
    "results_in": "analysis.output.files",
    "rsa": "analysis.arrays.alignment",
    "runs": "analysis.runs.listed",
    "shared_range": "analysis.aggregation.points",
    "significance": "analysis.aggregation.significance",
    "similarity_drift": "analysis.arrays.alignment",
    "simplex_deviation": "analysis.arrays.collapse",
    "summaries": "analysis.aggregation.summary",
    "trend": "analysis.aggregation.seeds",
    "within_class_collapse": "analysis.arrays.collapse",
    "write_csv": "analysis.output.csv",
    "write_parquet": "analysis.output.parquet",
}

__all__ = [
    "Accuracies",
    "AccuracyCurve",
    "Axes",
    "ClassGeometry",
    "ClassPairs",
    "Contrast",
    "Curve",
    "Estimate",
    "Evaluation",
    "FewShot",
    "Finding",
    "Gap",
    "Growth",
    "IllConditionedWarning",
    "LayerMap",
    "Mean",
    "Origin",
    "Pictures",
    "Response",
    "Run",
    "Runs",
    "SimilarityDrift",
    "Simplex",
    "Summary",
    "accuracy",
    "aggregate",
    "alignment",
    "augmentation_collapse",
    "bounds",
    "cdnv",
    "claims",
    "class_geometry",
    "compare",
    "contrast",
    "curves",
    "decision_axes",
    "directional_cdnv",
    "divergence",
    "effective_rank",
    "estimate",
    "few_shot",
    "geometry",
    "growth",
    "import_checkpoints",
    "knn_overlap",
    "layers",
    "linear_cka",
    "losses",
    "open_run",
    "over_seeds",
    "picture",
    "points",
    "points_by_config",
    "probe",
    "procrustes_distance",
    "register_measure",
    "response",
    "results_in",
    "rsa",
    "runs",
    "shared_range",
    "significance",
    "similarity_drift",
    "simplex_deviation",
    "summaries",
    "trend",
    "within_class_collapse",
    "write_csv",
    "write_parquet",
]


class _Package(ModuleType):
    """`bounds`, `curves`, `runs` and others are functions here, also once packages of these names are loaded."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
