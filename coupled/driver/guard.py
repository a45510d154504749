"""What stops all arms before an update that would spoil them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.config import Config
from coupled.config.identity import path_of
from coupled.errors import EarlyEnd, RunStopped
from coupled.recording.commits import Commits
from coupled.recording.transfer import Transfer, send
from coupled.recording.writer import Writer


class Guard:
    """Stops all arms before the update if any loss or gradient of any arm, on any rank, is not finite.

    A CPU is asked at once. A GPU runs behind the host, which would have to wait for it at every step: there the flags
    stay on the device and come to the host with what the step records. From the first one on `halted`, 0-d bool on the
    device, is true, and no update moves anything, so that all arms stay in their last good state; `read` stops the run
    a step later, before anything of that step is saved. Elsewhere `halted` is None.
    """

    def __init__(
        self, config: Config, arms: Mapping[str, Arm], commits: Commits, writer: Writer, *, behind: bool
    ) -> None:
        self._config, self._arms, self._commits, self._writer = config, arms, commits, writer
        self._mesh, names = commits.mesh, list(config.arms)
        device, own = next(iter(arms.values())).state.weights.device, list(arms)
        self._quantities = [(name, quantity) for name in names for quantity in ("loss", "gradient")]
        # Where each flag of the run lies in those of the arms here, behind which is one that is false.
        at = [2 * own.index(name) + k if name in own else 2 * len(own) for name in names for k in range(2)]
        self._at = torch.tensor(at, device=device)
        self.halted = torch.zeros((), dtype=torch.bool, device=device) if behind else None
        self._step = 0
        self.coming: list[Transfer] = []

    def check(self, step: int, error: EarlyEnd | None = None) -> None:
        """Before the update of `step`, a meeting of all ranks: also stops all arms if a loss could not be computed
        (`error`), or if nothing can be written any more.
        """
        at_once = self.halted is None
        bad = self._flags().tolist() if at_once and error is None else [False] * len(self._quantities)
        *bad, wrong, failed = self._mesh.most(*bad, error is not None, self._writer.failed)
        if wrong:
            self._mesh.agree(error)
        if failed:
            self._mesh.together(self._writer.drain)
        self._step = step
        if at_once:
            self._stop(bad)
        else:
            self._look()

    def _look(self) -> None:
        flags = self._flags().to(torch.uint8)
        for axis in (self._mesh.data, self._mesh.arms):
            flags = axis.gathered(flags).amax(0)
        assert self.halted is not None
        self.halted.logical_or_(flags.any())
        self.coming.append(Transfer({"guard": {"flags": flags}}))

    def read(self) -> None:
        """Waits for the flags of the last step, if they are still coming. RunStopped if one is set: on all ranks."""
        coming, self.coming = self.coming, []
        send(coming)  # what nothing has followed yet
        for flags in (array for transfer in coming for array in transfer.arrays().values()):
            self._stop(flags.tolist())

    def _flags(self) -> Tensor:
        """Whether the loss and the gradient of each arm of the run are not finite, of those that are here; bool."""
        own = ~torch.stack([finite for arm in self._arms.values() for finite in _finite(arm)])
        return own if len(own) == len(self._at) else torch.cat([own, own.new_zeros(1)]).index_select(0, self._at)

    def _stop(self, bad: Sequence[int]) -> None:
        if not any(bad):
            return
        name, quantity = next(q for q, flag in zip(self._quantities, bad, strict=True) if flag)
        reason = f"arm {name} has a non-finite {quantity}"
        if self._commits.directory is not None:
            self._commits.directory.log({"event": "stopped", "step": self._step, "reason": reason})
        raise self._mesh.ending(
            RunStopped(
                f"{reason} at step {self._step}: all arms stopped before the update; records and checkpoints up to the "
                f"last checkpoint are in {path_of(self._config)}"
            )
        )


def _finite(arm: Arm) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.isfinite(arm.loss), arm.squares.finite_gradient()
