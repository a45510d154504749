"""The arms of a run at its kept checkpoints: weights from the disk, hashes verified, and networks made of them."""

from collections.abc import Sequence

import numpy as np
import torch

from analysis.runs.run import Run
from coupled.arms.network import unfilled_network
from coupled.errors import UserError
from coupled.models import Network
from coupled.models.flat import HEAD, FlatState
from coupled.models.timm_models import LIBRARY, is_timm, timm_version
from coupled.reading.checkpoints import checkpoints_of, open_checkpoint, state_dict
from coupled.store import StoreError, TensorFile, read_saved


def kept_steps(run: Run, steps: Sequence[int] | None = None) -> tuple[int, ...]:
    """The steps of which the run keeps a checkpoint for good, ascending; or `steps`, if it has these.

    Of a run that is still written: those that are committed. UserError for a step without a checkpoint.
    """
    there = checkpoints_of(run.path, run.manifest)
    kept = [step for step in run.config.checkpoints.keep.upto(run.config.train.steps) if step in there]
    if not kept:
        do = "try again later" if not run.finished else "train with checkpoints.keep"
        raise UserError(f"{run.path} has no kept checkpoint", "features are made from kept checkpoints", do)
    missing = [step for step in steps or () if step not in there]
    if missing:
        raise UserError(f"no checkpoint at step {missing[0]}", "there are " + ", ".join(map(str, there)))
    return tuple(sorted(set(steps))) if steps else tuple(kept)


def digest_at(run: Run, arm: str, step: int) -> str:
    """SHA-256 (hex) of the file that holds an arm in a checkpoint."""
    saved = read_saved(run.path, checkpoints_of(run.path, run.manifest)[step])
    committed = saved.files.get(f"{arm}.safetensors")
    if committed is None:
        raise StoreError(run.path / saved.folder, f"does not list the arm {arm}")
    return committed.sha256


def weights_at(run: Run, arm: str, step: int) -> dict[str, np.ndarray]:
    """Weights and buffers of an arm by the network's own names, mapped, in the run's precision; no classifier head."""
    state = state_dict(run.config, arm, _opened(run, arm, step))
    return {name: array for name, array in state.items() if not name.startswith(HEAD)}


def network_at(run: Run, arm: str, step: int, device: torch.device) -> Network:
    """The network of an arm at a checkpoint, in evaluation mode; without the classifier head of a ce arm.

    UserError where the encoder's code is not here, or another version of timm than the run's.
    """
    _check_timm(run)
    network = unfilled_network(run.config)
    dtype = getattr(torch, run.config.train.dtype)
    state = FlatState(network, dtype, device)
    tensors = {**state.named_weights(), **state.named_buffers()}
    with torch.no_grad():
        for name, array in weights_at(run, arm, step).items():
            values = torch.from_numpy(np.array(array))
            if values.dtype != dtype:
                raise StoreError(_opened(run, arm, step).path, f"{name} is {values.dtype}, the run's precision {dtype}")
            tensors[name].copy_(values)
    return network.eval()


def _check_timm(run: Run) -> None:
    """A model may compute something else in another version."""
    then, now = run.facts["versions"].get(LIBRARY), timm_version()
    if is_timm(run.config.model.encoder) and then != now:
        do = f"pip install {LIBRARY}=={then}" if then else "train the run again"
        raise UserError(f"{run.config.model.encoder} was trained with timm {then}", f"here is {now}", do)


def _opened(run: Run, arm: str, step: int) -> TensorFile:
    run.arm(arm)
    entry = checkpoints_of(run.path, run.manifest)[step]
    return open_checkpoint(run.path, entry, arm, run.fingerprint)
