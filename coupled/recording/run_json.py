"""The content of run.json."""

from collections.abc import Mapping
from typing import Any

import torch

from coupled import runtime
from coupled.arms.network import meta_network
from coupled.config import Config, digest, fingerprint, resolved
from coupled.config.formats import FORMAT
from coupled.data.base import Split
from coupled.models.flat import in_weight_gap
from coupled.recording.layout import weight_segments

DETERMINISM = (
    "bitwise on one machine type, with the same library versions and identity fields, for any placement of arms; where "
    "ranks split batches, batches and views bitwise, the rest for as many of them, and to rounding for other numbers"
)


def describe(config: Config, initial_weights: str, splits: Mapping[str, Split], device: torch.device) -> dict[str, Any]:
    """The content of run.json."""
    segments = weight_segments(config, meta_network(config))
    return {
        "schema": FORMAT,
        "config": resolved(config),
        "config_digest": digest(config),
        "fingerprint": fingerprint(config),
        "layers": [{"name": s.name, "shape": list(s.shape), "in_weight_gap": in_weight_gap(s.name)} for s in segments],
        "data": {name: split.fingerprint() for name, split in splits.items()},
        "versions": runtime.versions(),
        "machine": runtime.machine(device),
        "determinism": DETERMINISM,
        "certificate": {"seed": config.seed, "initial_weights": initial_weights},
    }
