"""Checkpoints of a run, opened for reading."""

from pathlib import Path

import numpy as np

from coupled.arms.network import meta_network
from coupled.config import Config
from coupled.objectives.registry import is_function_of_sigma
from coupled.store import (
    Entry,
    Manifest,
    StoreError,
    TensorFile,
    checkpoint_folder,
    open_tensors,
    verify_object,
)
from coupled.store.errors import one_line
from coupled.store.manifest import MANIFEST
from coupled.store.rundir import STATE
from coupled.store.saved import Saved, read_saved


def checkpoints_of(path: Path, manifest: Manifest) -> dict[int, Entry]:
    """The committed checkpoints by step, ascending; those that were retired are not among them."""
    kept: dict[int, Entry] = {}
    for entry in manifest.entries:
        if entry.kind == "checkpoint":
            if entry.name != f"{checkpoint_folder(entry.first)}/state.json":
                raise StoreError(path / MANIFEST, f"{one_line(str(entry.name))} is no checkpoint of this run")
            kept[entry.first] = entry
        elif entry.kind == "retire":
            kept.pop(entry.first, None)
    return dict(sorted(kept.items()))


def open_checkpoint(path: Path, entry: Entry, arm: str, fingerprint: str) -> TensorFile:
    """One arm's tensors in a committed checkpoint, its hashes verified. Raises StoreError."""
    return open_arm(path, read_saved(path, entry), arm, fingerprint)


def open_arm(path: Path, saved: Saved, arm: str, fingerprint: str) -> TensorFile:
    """One arm's tensors in a saved state, its hash verified. Raises StoreError."""
    committed = saved.files.get(f"{arm}.safetensors")
    if committed is None:
        raise StoreError(path / saved.folder / STATE, f"does not list the arm {arm}")
    tensors = open_tensors(verify_object(path, committed))
    own = tensors.metadata.get("fingerprint")
    if own != fingerprint:
        raise StoreError(tensors.path, f"its fingerprint is {own}, the run's is {fingerprint}; it is of another run")
    return tensors


def state_dict(config: Config, arm: str, tensors: TensorFile) -> dict[str, np.ndarray]:
    """Weights and buffers of an arm by the network's own names, mapped. StoreError unless they have its shapes (a
    head's, which only some arms have, its own).
    """
    names = {key.partition(".")[2]: key for key in tensors if key.startswith(("weights.", "buffers."))}
    shapes = {name: tensors.header.tensors[key].shape for name, key in names.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in meta_network(config).state_dict().items()}
    if not is_function_of_sigma(config.arms[arm].objective):
        outputs = (shapes.get("head.bias") or (0,))[0]
        expected |= {"head.weight": (outputs, config.model.projection_dim), "head.bias": (outputs,)}
    if shapes != expected:
        raise StoreError(tensors.path, "its tensors are not those of the config's network")
    return {name: tensors[key] for name, key in names.items()}
