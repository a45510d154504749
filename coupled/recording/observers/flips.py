"""The stream flips: how many units are on in an arm and off in its reference, or the other way round."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.arms.network import units_on_shapes
from coupled.models.activation import signs_of
from coupled.recording.observation import Observation, Observer, Rows, Setting

# Images at a time: a ResNet-50 has some three million units for one of 32 px.
_TOGETHER: Final = 16


class Flips(Observer):
    """Signs of the inputs of every activation, on the first ids of the panel in evaluation mode, place by place."""

    stream = "flips"

    def __init__(self, setting: Setting) -> None:
        self._images = setting.panels.images["panel"][: setting.config.panel.flips_size]
        self._config = setting.config

    def state(self, seen: Observation) -> Rows:
        compared = {name: arm.reference for name, arm in seen.arms.items() if arm.reference is not None}
        units = self._units()
        counts = {name: self._images.new_zeros(len(units), dtype=torch.int64) for name in compared}
        for images in self._images.split(_TOGETHER):
            signs = {name: _signs(arm, images) for name, arm in seen.arms.items()}
            some = next(iter(signs.values()))
            # The signs of a reference that lives elsewhere come from there.
            local = seen.mesh.references(
                seen.dependents, lambda arm, here=signs, like=some: here.get(arm, torch.empty_like(like))
            )
            signs |= {name: flat for name, flat in local if name in compared.values()}
            for name, reference in compared.items():
                differing = (signs[name] != signs[reference]).split([count * len(images) for count in units])
                counts[name] += torch.stack([of_place.sum() for of_place in differing])
        return {name: {"state.flipped": count} for name, count in counts.items()}

    def fixed(self) -> Mapping[str, np.ndarray]:
        return {"fixed.units": np.array(self._units())}

    def _units(self) -> list[int]:
        return list(units_on_shapes(self._config).values())


def _signs(arm: Arm, images: Tensor) -> Tensor:
    """Which units are on (units of all images,), uint8, one place after the other."""
    with signs_of(arm.network) as signs:
        arm.embed(images)
    seen = [signs[name] for names in arm.network.activations().values() for name in names]
    return torch.cat([inputs.flatten() for of_module in seen for inputs in of_module]).byte()
