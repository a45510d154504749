"""The panel and the surrogate panel: fixed samples on which arms are compared in evaluation mode.

Their ids, and the surrogate panel's views, are drawn with seed 0: every run of a data set has the same, so that runs of
different seeds can be compared.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from coupled import views
from coupled.address import Purpose, permutation
from coupled.arms.arm import Arm
from coupled.config import Config
from coupled.data.splits import Split
from coupled.inputs.source import Source

_SEED = 0


class Panels:
    """Both panels, made once: test images un-augmented, and training images under two fixed views each.

    `labels`: int64 (n,) of the panel, by labelling, on the arms' device.
    """

    def __init__(self, config: Config, source: Source, test: Split) -> None:
        self.ids = _chosen(Purpose.PANEL, len(test), config.panel.size)
        self.surrogate_ids = _chosen(Purpose.SURROGATE, len(source.split), config.panel.surrogate_size)
        visits = torch.zeros_like(self.surrogate_ids)
        self.draws = torch.stack(
            [views.view_words(_SEED, Purpose.SURROGATE_VIEW, self.surrogate_ids, visits, view) for view in (0, 1)]
        )
        self._pixels = source.plain(test, self.ids)
        self._surrogate_pixels = source.pixels(self.surrogate_ids, self.draws)
        self._stages = config.panel.stages
        self.labels = {name: test.labels(name)[self.ids].to(source.device) for name in source.labels}
        self._fixed = {
            "panel": {"fixed.ids": self.ids}
            | {f"fixed.labels.{name}": test.labels(name)[self.ids] for name in source.labels},
            "surrogate": {"fixed.ids": self.surrogate_ids, "fixed.draws": self.draws}
            | {f"fixed.labels.{name}": values[self.surrogate_ids] for name, values in source.labels.items()},
        }

    @property
    def images(self) -> dict[str, Tensor]:
        """The images of each stream, (n, 3, S, S) and (2n, 3, S, S)."""
        return {"panel": self._pixels, "surrogate": self._surrogate_pixels}

    def panel(self, arms: Mapping[str, Arm]) -> dict[str, dict[str, Tensor]]:
        """`of` every arm."""
        return {name: self.of(arm) for name, arm in arms.items()}

    def of(self, arm: Arm) -> dict[str, Tensor]:
        """h (n, D), z (n, d) and, if asked for, pooled stage features (n, C_k) of an arm on the panel."""
        h, z, *stages = arm.embed(self._pixels, stages=self._stages)
        return {"state.h": h, "state.z": z} | {f"state.stage.{k}": x for k, x in enumerate(stages)}

    def surrogate(self, arms: Mapping[str, Arm]) -> dict[str, dict[str, Tensor]]:
        """z (2n, d) of every arm on the surrogate panel, view 1 first."""
        return {name: {"state.z": arm.embed(self._surrogate_pixels)[1]} for name, arm in arms.items()}

    def fixed(self, stream: str) -> dict[str, np.ndarray]:
        """The columns of `stream` that are the same at every step, by name."""
        return {name: values.numpy() for name, values in self._fixed.get(stream, {}).items()}


def _chosen(purpose: Purpose, n: int, size: int) -> Tensor:
    return permutation(_SEED, purpose, n)[:size].sort().values
