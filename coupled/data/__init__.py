"""Data sets: their constants (`info`), their splits (`load`), parts of them, and a user's own (`register_data_set`)."""

from coupled.data.arrays import ArraySplit
from coupled.data.registry import DATASETS, info, known, load, look, register_data_set, subset_info
from coupled.data.splits import DataInfo, FileSplit, ImageSplit, Split, SplitName
from coupled.data.subset import Subset

__all__ = [
    "DATASETS",
    "ArraySplit",
    "DataInfo",
    "FileSplit",
    "ImageSplit",
    "Split",
    "SplitName",
    "Subset",
    "info",
    "known",
    "load",
    "look",
    "register_data_set",
    "subset_info",
]
