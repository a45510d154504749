"""What both ranks run that share one GPU: nccl refuses that, so tensors go to the host and through gloo (tests only).

torchrun --nproc-per-node 2 tests/device/two_ranks.py FOLDER
"""

import sys
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from training_parts import config_of

from coupled.config.schema import Ranks
from coupled.driver.train import train
from coupled.ranks import joining
from coupled.ranks.mesh import Axis


class Staged(Axis):
    """An axis whose messages are taken to the host and back."""

    def gathered(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.size == 1:
            return tensor[None]
        return super().gathered(tensor.cpu()).to(tensor.device)

    def shared(self, tensor: torch.Tensor, index: int) -> torch.Tensor:
        if self.size == 1:
            return tensor
        return tensor.copy_(super().shared(tensor.cpu(), index))

    def exchanged(self, chunks: torch.Tensor) -> torch.Tensor:
        return super().exchanged(chunks.cpu()).to(chunks.device)


def main(folder: str) -> None:
    """Trains with arms on the two ranks, then with the data on them."""
    begin = dist.init_process_group
    joining.Axis = Staged  # type: ignore[misc]
    if torch.cuda.is_available():
        joining._take_device = lambda: torch.cuda.set_device(0)

        def gloo(_backend: str, **options: Any) -> None:
            begin("gloo", **options)

        joining.dist.init_process_group = gloo
    train(replace(config_of(folder), name="arms", ranks=Ranks(arms=2, data=1, timeout=60, check=2)))
    double = config_of(folder, train={"precision": "float64"})
    train(replace(double, name="data", ranks=Ranks(arms=1, data=2, timeout=60, check=2)))


if __name__ == "__main__":
    main(sys.argv[1])
