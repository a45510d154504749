"""The content of run.json."""

from collections.abc import Mapping
from typing import Any

import torch

from coupled import runtime
from coupled.config import Config, digest, fingerprint, resolved
from coupled.config.formats import FORMAT
from coupled.config.traits import own_inputs
from coupled.data.splits import Split
from coupled.recording.layout import layer_facts

DETERMINISM = (
    "bitwise on one machine type, with the same library versions and identity fields, for any placement of arms; where "
    "ranks split batches, batches and views bitwise, the rest for as many of them, and to rounding for other numbers"
)


def describe(config: Config, initial_weights: str, splits: Mapping[str, Split], device: torch.device) -> dict[str, Any]:
    """The content of run.json."""
    return {
        "schema": FORMAT,
        "config": resolved(config),
        "config_digest": digest(config),
        "fingerprint": fingerprint(config),
        "layers": layer_facts(config),
        "data": {name: split.fingerprint() for name, split in splits.items()},
        "versions": runtime.versions(config.model.encoder),
        "machine": runtime.machine(device),
        "determinism": DETERMINISM,
        "certificate": {"seed": config.seed, "initial_weights": initial_weights, **inputs_facts(config)},
    }


def inputs_facts(config: Config) -> dict[str, Any]:
    """Which arms see inputs of their own, by kind, as run.json lists them; nothing where all see the shared ones."""
    kinds = own_inputs(config.arms)
    return {"inputs": {inputs.key: arms for inputs, arms in kinds.items()}} if kinds else {}
