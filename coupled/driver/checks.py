"""What stops all arms where they cannot go on alike: copies that differ, and arms that could not be moved."""

from typing import Final

import torch

from coupled.arms.moves import Failure, Moved
from coupled.driver.run import Run
from coupled.errors import RunStopped
from coupled.recording import checkpoints


def check_copies(run: Run, step: int) -> None:
    """On schedule: ranks that share an arm have the same weights, bit for bit, or the run stops."""
    if run.mesh.data.size == 1 or not (step % run.config.ranks.check == 0 or step in run.checkpoint_steps):
        return
    folded = torch.stack([_fold(tensor) for arm in run.arms.values() for tensor in checkpoints.tensors(arm).values()])
    differing = bool((run.mesh.data.gathered(folded) != folded).any())
    if any(run.mesh.most(differing)):
        reason = f"ranks that share an arm had other weights after step {step}"
        run.log({"event": "stopped", "step": step, "reason": reason})
        raise run.mesh.ending(RunStopped(f"{reason}: their updates were not the same; resume from the last checkpoint"))


_FAILURES: Final = {
    Failure.NOT_HELD: "gets a nudge that {} cannot hold",
    Failure.NOT_FINITE: "is moved by what is not finite",
    Failure.NOTHING_TO_MATCH: "is to be nudged as far as an arm is that has not moved apart",
}


def check_moves(run: Run, step: int, moved: Moved) -> None:
    """Stop all arms where one could not be moved into state `step`: nothing of that state is saved."""
    failures = [moved.failures.get(name, Failure.NONE) for name in run.config.arms]
    if run.moves.nudge(step):  # of kicks alone, all ranks know the same
        failures = [Failure(code) for code in run.mesh.most(*failures)]
    if any(failures):
        arm, failure = next((name, code) for name, code in zip(run.config.arms, failures, strict=True) if code)
        reason = f"arm {arm} {_FAILURES[failure].format(run.config.train.dtype)}"
        run.log({"event": "stopped", "step": step, "reason": reason})
        raise run.mesh.ending(
            RunStopped(
                f"{reason} at step {step}: all arms stopped; records and checkpoints up to the last checkpoint are in "
                f"{run.root}"
            )
        )


def _fold(tensor: torch.Tensor) -> torch.Tensor:
    """A 0-d int64 digest of a tensor's bits, on its device: Σ (2k+1)·bits_k modulo 2⁶⁴, in any order the same."""
    bits = tensor.detach().contiguous().view({4: torch.int32, 8: torch.int64}[tensor.itemsize]).flatten().long()
    return (bits * torch.arange(1, 2 * len(bits), 2, device=bits.device)).sum()
