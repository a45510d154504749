"""Names and shapes of the papers' tensors, one by one, and ours.

Theirs are torchvision's behind `encoder.net.`, a projector of numbered modules, and, of a ce arm, all of that behind
`simclr_model.` and a classifier. Ours are those of `coupled.models.Network`, torchvision's behind `encoder.`.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from analysis.foreign.folders import Checkpoint
from coupled.arms.network import meta_network
from coupled.config import Config
from coupled.errors import UserError
from coupled.store import StoreError, TensorFile

WRAPPED: Final = "simclr_model."  # before every name but the classifier's, of a ce arm
ENCODER: Final = "encoder.net."
PROJECTOR: Final = "projector.projector."
CLASSIFIER: Final = "classifier."
_MODULES: Final = {"linear1": "0", "bn1": "1", "linear2": "3", "bn2": "4"}  # of the projector, by ours
_SHIFT: Final = "projector.projector.4.bias"  # frozen at 0; ours has none
_COUNT: Final = "num_batches_tracked"  # of every batch-norm; ours has none


class Target(NamedTuple):
    """What one of their tensors is to us: its name in our checkpoints, None where we have none; its kind and shape."""

    name: str | None
    dtype: str
    shape: tuple[int, ...]


def targets(config: Config, objective: str, classes: int | None) -> dict[str, Target]:
    """Every tensor that an arm's checkpoint holds, by its name there. `classes`: outputs of a ce arm's classifier."""
    network = meta_network(config)
    held: dict[str, Target] = {}
    for kind, named in (("weights", network.named_parameters()), ("buffers", network.named_buffers())):
        for name, tensor in named:
            theirs = _theirs(name)
            held[theirs] = Target(f"{kind}.{name}", "float32", tuple(tensor.shape))
            if theirs.endswith(".running_mean"):
                held[f"{theirs.removesuffix('running_mean')}{_COUNT}"] = Target(None, "int64", ())
    held[_SHIFT] = Target(None, "float32", (config.model.projection_dim,))
    if objective != "ce":
        return held
    assert classes is not None
    wrapped = {f"{WRAPPED}{name}": target for name, target in held.items()}
    weight = Target("weights.head.weight", "float32", (classes, config.model.projection_dim))
    bias = Target("weights.head.bias", "float32", (classes,))
    return {**wrapped, f"{CLASSIFIER}weight": weight, f"{CLASSIFIER}bias": bias}


def translated(checkpoint: Checkpoint, tensors: TensorFile, wanted: Mapping[str, Target]) -> dict[str, np.ndarray]:
    """The tensors by their names in our checkpoints. StoreError names the first that is missing, surplus or misshapen,
    and a projector's shift that is not 0.
    """
    for name in wanted:
        if name not in tensors:
            raise StoreError(checkpoint.path, f"lacks {name}, which is {_shown(wanted[name])}")
    for name in tensors:
        if name not in wanted:
            raise StoreError(checkpoint.path, f"holds {name}, which no such network has")
    arrays = {}
    for name, target in wanted.items():
        array = tensors[name]
        own = Target(target.name, array.dtype.name, array.shape)
        outputs = own._replace(shape=(*target.shape[:1], *array.shape[1:]))
        if own != target and outputs == target and name.startswith("classifier."):
            classes = f"the classifier in {checkpoint.path} has {array.shape[0]} outputs"
            needed = f"the labelling has {target.shape[0]} classes"
            raise UserError(classes, needed, "say with --data-set and --labelling what it was trained on")
        if own != target:
            raise StoreError(checkpoint.path, f"{name} is {_shown(own)}, and {_shown(target)} is needed")
        if name.endswith(_SHIFT) and not bool((array == 0).all()):
            raise StoreError(checkpoint.path, f"{name} is not 0: a projector whose output is shifted is none of ours")
        if target.name is not None:
            arrays[target.name] = array
    return arrays


def _theirs(name: str) -> str:
    """Their name of a tensor of ours."""
    part, _, rest = name.partition(".")
    if part == "encoder":
        return f"{ENCODER}{rest}"
    module, _, tensor = rest.partition(".")
    return f"{PROJECTOR}{_MODULES[module]}.{tensor}"


def _shown(target: Target) -> str:
    return f"{target.dtype} {target.shape}"
