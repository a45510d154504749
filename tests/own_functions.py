"""Streams that a program registers by itself: no file of code has to be found when a run goes on."""

import torch

from coupled import register_stream
from coupled.streams import forget

NAMES = ("rank", "norms", "centres", "odd")
RECORD = {
    "rank": {},
    "norms": {"every": 3, "arms": ["nscl"]},
    "centres": {"log": 2, "last": True},
    "odd": {"steps": [1, 2, 4]},
}


def register():
    """Four of them: of a number, of layers, of the panel, of NaN and integers."""

    @register_stream("rank")
    def rank(seen):
        share = torch.linalg.svdvals(seen.z.double()).square() / len(seen.z)
        return torch.special.entr(share).sum().exp()

    @register_stream("norms", shape=("layers",), dtype="float32")
    def norms(seen):
        return torch.stack([gradient.norm() for gradient in seen.gradients.values()])

    @register_stream("centres", of="panel", shape=(2, "features"))
    def centres(seen):
        labels = seen.labels["size"]
        return torch.stack([seen.h.double()[labels == c].mean(0) for c in (0, 1)])

    @register_stream("odd", shape=(2, "batch"))
    def odd(seen):
        return torch.stack([seen.ids.double() * torch.nan, seen.labels["size"].double() + seen.learning_rate])


def withdraw():
    for name in NAMES:
        forget(name)
