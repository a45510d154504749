"""From the records of a run to curves, tables and figures. `open_run(path).curve("cka", arm="nscl")` is the start."""

from analysis.alignment import linear_cka, rsa
from analysis.curve import Curve
from analysis.curves import curves, write_csv
from analysis.divergence import divergence
from analysis.growth import Growth, growth
from analysis.layer_maps import LayerMap, layers
from analysis.run import Run, open_run

__all__ = [
    "Curve",
    "Growth",
    "LayerMap",
    "Run",
    "curves",
    "divergence",
    "growth",
    "layers",
    "linear_cka",
    "open_run",
    "rsa",
    "write_csv",
]
