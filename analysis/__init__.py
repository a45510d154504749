"""From the records of a run to curves, tables and figures. `open_run(path).curve("cka", arm="nscl")` is the start."""

from analysis.alignment import (
    IllConditionedWarning,
    knn_overlap,
    linear_cka,
    procrustes_distance,
    rsa,
    similarity_drift,
)
from analysis.bounds import bounds
from analysis.curve import Curve
from analysis.curves import curves, write_csv
from analysis.divergence import divergence
from analysis.drift import SimilarityDrift
from analysis.estimates import Estimate, estimate
from analysis.geometry import cdnv, directional_cdnv
from analysis.growth import Growth, growth
from analysis.layer_maps import LayerMap, layers
from analysis.run import Run, open_run

__all__ = [
    "Curve",
    "Estimate",
    "Growth",
    "IllConditionedWarning",
    "LayerMap",
    "Run",
    "SimilarityDrift",
    "bounds",
    "cdnv",
    "curves",
    "directional_cdnv",
    "divergence",
    "estimate",
    "growth",
    "knn_overlap",
    "layers",
    "linear_cka",
    "open_run",
    "procrustes_distance",
    "rsa",
    "similarity_drift",
    "write_csv",
]
