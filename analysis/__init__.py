"""From the records and kept checkpoints of a run to curves, tables and figures.

`open_run(path).curve("cka", arm="nscl")` is the start.
"""

from analysis.arrays.alignment import (
    IllConditionedWarning,
    knn_overlap,
    linear_cka,
    procrustes_distance,
    rsa,
    similarity_drift,
)
from analysis.arrays.axes import Axes, ClassPairs, decision_axes
from analysis.arrays.collapse import (
    Simplex,
    augmentation_collapse,
    effective_rank,
    simplex_deviation,
    within_class_collapse,
)
from analysis.arrays.geometry import cdnv, directional_cdnv
from analysis.arrays.optimum import ClassGeometry, class_geometry
from analysis.arrays.similarity_drift import SimilarityDrift
from analysis.bounds import bounds
from analysis.curves import curves
from analysis.divergence import divergence
from analysis.divergence.growth import Growth, growth
from analysis.divergence.layers import LayerMap, layers
from analysis.evaluation.accuracy import Accuracies, accuracy
from analysis.evaluation.alignment import alignment
from analysis.evaluation.alignment.models import compare
from analysis.evaluation.features import Evaluation
from analysis.evaluation.few_shot import FewShot, few_shot
from analysis.evaluation.geometry import geometry
from analysis.evaluation.losses import losses
from analysis.evaluation.picture import Pictures, picture
from analysis.evaluation.probe import probe
from analysis.evaluation.probe.curves import AccuracyCurve
from analysis.foreign import Origin, import_checkpoints
from analysis.output.csv import write_csv
from analysis.runs.curve import Curve
from analysis.runs.run import Run, open_run
from analysis.runs.seeds import over_seeds
from analysis.statistics.estimates import Estimate, estimate

__all__ = [
    "Accuracies",
    "AccuracyCurve",
    "Axes",
    "ClassGeometry",
    "ClassPairs",
    "Curve",
    "Estimate",
    "Evaluation",
    "FewShot",
    "Growth",
    "IllConditionedWarning",
    "LayerMap",
    "Origin",
    "Pictures",
    "Run",
    "SimilarityDrift",
    "Simplex",
    "accuracy",
    "alignment",
    "augmentation_collapse",
    "bounds",
    "cdnv",
    "class_geometry",
    "compare",
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
    "probe",
    "procrustes_distance",
    "rsa",
    "similarity_drift",
    "simplex_deviation",
    "within_class_collapse",
    "write_csv",
]
