"""The streams of a user's own: what their functions make of arms at a step, or on the panel."""

from collections.abc import Callable
from functools import partial

from coupled.arms.arm import Arm
from coupled.config.own_streams import stream_name
from coupled.errors import UserError
from coupled.recording.observation import Observation, Observer, Rows, Setting, StepObservation
from coupled.recording.own import Function, at_step, on_panel
from coupled.streams import ArmAtStep, ArmOnPanel


class Own(Observer):
    """One of them."""

    may_fail = True

    def __init__(self, setting: Setting, name: str) -> None:
        super().__init__(setting)
        self.stream, self._function, self._panels = stream_name(name), Function(setting.config, name), setting.panels

    def state(self, seen: Observation) -> Rows:
        if not self._function.of_panel:
            return {}
        embedded = {
            name: partial(seen.once, ("panel", name), partial(self._panels.of, arm)) for name, arm in seen.arms.items()
        }
        return self._rows(seen, lambda arm: on_panel(arm, seen.step, self._panels, embedded[arm.name]()))

    def batch(self, seen: StepObservation) -> Rows:
        if self._function.of_panel:
            return {}
        return self._rows(seen, lambda arm: at_step(arm, seen.batch, seen.link_of(arm.name).learning_rate))

    def _rows(self, seen: Observation, look: Callable[[Arm], ArmAtStep | ArmOnPanel]) -> Rows:
        arms = [arm for name, arm in seen.arms.items() if name in self._function.arms]
        try:
            return {arm.name: {self._function.column: self._function(look(arm))} for arm in arms}
        except UserError as error:
            self.error = error
            return {}
