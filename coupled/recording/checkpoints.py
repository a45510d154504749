"""Checkpoints: every arm's weights, buffers and optimiser state at one step, as safetensors bytes, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.store import StoreError, TensorFile, to_bytes

Arrays = dict[str, np.ndarray]


def ledger_file(arm: str) -> str:
    """The file of a checkpoint with what an arm's ledger carries along; no arm has its name."""
    return f"{arm}.ledger"


def captured(arm: Arm) -> Arrays:
    """One arm whole, copied to the host: `weights.<name>`, `buffers.<name>`, `optimiser.<name>` (flat, like weights).

    Flat vectors travel, not layers. A deliberate sync on a GPU: what is written must be of this step, whatever the arm
    does next.
    """
    state = arm.state
    arrays = {}
    for group, flat, segments in (
        ("weights", state.weights, state.weight_segments),
        ("buffers", state.buffers, state.buffer_segments),
    ):
        host = on_host(flat)
        arrays |= {f"{group}.{segment.name}": segment.view(host).numpy() for segment in segments}
    return arrays | {f"optimiser.{name}": on_host(flat).numpy() for name, flat in arm.optimiser.tensors().items()}


def on_host(tensor: Tensor) -> Tensor:
    """A copy on the host. A deliberate sync on a GPU."""
    # Into memory that the GPU writes by itself: from other memory it takes ten times as long.
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    return host.copy_(tensor.detach())


def saved_bytes(arms: Mapping[str, Arrays], fingerprint: str) -> dict[str, bytes]:
    """The safetensors files of captured arms."""
    return {name: to_bytes(arrays, {"fingerprint": fingerprint}) for name, arrays in arms.items()}


def restore(arm: Arm, file: TensorFile, step: int) -> None:
    """Give the arm the state it had after `step` updates. Raises StoreError if the file is not of such an arm."""
    expected: dict[str, Tensor] = {
        **{f"weights.{name}": tensor for name, tensor in arm.state.named_weights().items()},
        **{f"buffers.{name}": tensor for name, tensor in arm.state.named_buffers().items()},
    }
    kept = {f"optimiser.{name}": arm.state.weights for name in arm.optimiser.names} if step else {}
    check_tensors(file, expected | kept, f"arm {arm.name} at step {step}")
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(tensor_of(file[name]))
    arm.optimiser.load({name.partition(".")[2]: tensor_of(file[name]) for name in kept}, step)


def check_tensors(file: TensorFile, wanted: Mapping[str, Tensor], of: str) -> None:
    """Raises StoreError unless a file has these tensors, by name, precision and shape, and no others."""
    held = {name: (info.dtype, info.shape) for name, info in file.header.tensors.items()}
    shapes = {name: (_dtype(tensor), tuple(tensor.shape)) for name, tensor in wanted.items()}
    if held != shapes:
        wrong = sorted(name for name in held.keys() | shapes.keys() if held.get(name) != shapes.get(name))
        raise StoreError(file.path, f"its tensors are not those of {of}: {wrong[0]}")


def tensors(arm: Arm) -> dict[str, Tensor]:
    """All that an arm's next step depends on, by name."""
    groups: dict[str, Mapping[str, Any]] = {
        "weights": arm.state.named_weights(),
        "buffers": arm.state.named_buffers(),
        "optimiser": arm.optimiser.tensors(),
    }
    return {f"{group}.{name}": tensor for group, named in groups.items() for name, tensor in named.items()}


def tensor_of(array: np.ndarray) -> Tensor:
    """A copy of an array of a file."""
    return torch.from_numpy(np.array(array))  # mapped arrays are read-only, which torch does not take


def _dtype(tensor: Tensor) -> str:
    return {torch.float32: "F32", torch.float64: "F64"}[tensor.dtype]
