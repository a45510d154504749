"""Checkpoints: every arm's weights, buffers and optimiser state at one step, as safetensors bytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from coupled.arms import Arm
from coupled.certificate import Certificate
from coupled.store import RunDirectory, to_bytes


def arm_bytes(arm: Arm, fingerprint: str) -> bytes:
    """One arm whole: `weights.<name>`, `buffers.<name>`, `optimiser.<name>` (flat, laid out like the weights)."""
    groups: dict[str, Mapping[str, Any]] = {
        "weights": arm.state.named_weights(),
        "buffers": arm.state.named_buffers(),
        "optimiser": arm.optimiser.tensors(),
    }
    tensors: dict[str, np.ndarray] = {
        f"{group}.{name}": tensor.detach().cpu().numpy()
        for group, named in groups.items()
        for name, tensor in named.items()
    }
    return to_bytes(tensors, {"fingerprint": fingerprint})


def commit(run: RunDirectory, step: int, arms: Mapping[str, Arm], certificate: Certificate, fingerprint: str) -> None:
    """Commit the state after `step` updates of every arm; all position is the step, as randomness is an address."""
    files = {name: arm_bytes(arm, fingerprint) for name, arm in arms.items()}
    run.commit_checkpoint(step, files, {"chain": certificate.link.hex(), "fingerprint": fingerprint})
