"""The streams panel and surrogate: what arms make of fixed samples, in evaluation mode."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from coupled.recording.observation import Observation, Observer, Rows, Setting


class Panel(Observer):
    """h, z and, if asked for, stage features of the panel."""

    stream = "panel"

    def __init__(self, setting: Setting) -> None:
        self._panels = setting.panels

    def state(self, seen: Observation) -> Rows:
        return {name: seen.once(("panel", name), partial(self._panels.of, arm)) for name, arm in seen.arms.items()}

    def fixed(self) -> Mapping[str, np.ndarray]:
        return self._panels.fixed(self.stream)


class Surrogate(Observer):
    """z of the surrogate panel."""

    stream = "surrogate"

    def __init__(self, setting: Setting) -> None:
        self._panels = setting.panels

    def state(self, seen: Observation) -> Rows:
        return self._panels.surrogate(seen.arms)

    def fixed(self) -> Mapping[str, np.ndarray]:
        return self._panels.fixed(self.stream)
