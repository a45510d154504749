"""From the records of a run to curves, tables and figures. `open_run(path).curve("cka", arm="nscl")` is the start."""

from analysis.arrays.alignment import (
    IllConditionedWarning,
    knn_overlap,
    linear_cka,
    procrustes_distance,
    rsa,
    similarity_drift,
)
from analysis.arrays.geometry import cdnv, directional_cdnv
from analysis.arrays.similarity_drift import SimilarityDrift
from analysis.bounds import bounds
from analysis.curves import curves
from analysis.divergence import divergence
from analysis.divergence.growth import Growth, growth
from analysis.divergence.layers import LayerMap, layers
from analysis.foreign import Origin, import_checkpoints
from analysis.output.csv import write_csv
from analysis.runs.curve import Curve
from analysis.runs.run import Run, open_run
from analysis.runs.seeds import over_seeds
from analysis.statistics.estimates import Estimate, estimate

__all__ = [
    "Curve",
    "Estimate",
    "Growth",
    "IllConditionedWarning",
    "LayerMap",
    "Origin",
    "Run",
    "SimilarityDrift",
    "bounds",
    "cdnv",
    "curves",
    "directional_cdnv",
    "divergence",
    "estimate",
    "growth",
    "import_checkpoints",
    "knn_overlap",
    "layers",
    "linear_cka",
    "open_run",
    "over_seeds",
    "procrustes_distance",
    "rsa",
    "similarity_drift",
    "write_csv",
]
