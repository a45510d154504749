"""Streams of a user's own, tried out before the first step: do they only look, and give the same of the same?"""

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.driver.assembly import Parts
from coupled.errors import UserError
from coupled.inputs.source import Batch
from coupled.recording.own import Function, at_step, on_panel


class Trial:
    """What the functions give of the arms here, at each time that they look; their mistakes are told by `judge`.

    On ranks that share an arm with another before them it does nothing.
    """

    def __init__(self, parts: Parts) -> None:
        own = parts.config.record.own if parts.mesh.writes else {}
        self._functions = [Function(parts.config, name) for name in own]
        self._panels = parts.panels
        self._values: dict[tuple[Function, str], list[Tensor]] = defaultdict(list)
        self._error: UserError | None = None

    def look(self, arm: Arm, batch: Batch, rate: float) -> None:
        """At an arm behind its backward. It raises nothing: other ranks may be in the next arm's forward."""
        for function in self._functions:
            if arm.name in function.arms and self._error is None:
                try:
                    self._values[function, arm.name].append(self._value(function, arm, batch, rate))
                except UserError as error:
                    self._error = error

    def _value(self, function: Function, arm: Arm, batch: Batch, rate: float) -> Tensor:
        step, panels = batch.step, self._panels
        seen = on_panel(arm, step, panels, panels.of(arm)) if function.of_panel else at_step(arm, batch, rate)
        # Beside what the function is given, what it may reach by other ways.
        state = {"buffers": arm.state.buffers, **arm.optimiser.tensors()}
        tensors = {**seen.given(), "weights": arm.state.weights, "gradients": arm.state.gradient, **state}
        before = copies(tensors)
        value = function(seen)
        if changed := differing(tensors, before):
            raise function.mistake(seen, f"it changes {', '.join(changed)}", "a stream only looks: work on a clone()")
        return value.detach().clone()

    def judge(self) -> None:
        """UserError for the first mistake, also where two looks at the same gave other bytes."""
        if self._error is not None:
            raise self._error
        for (function, arm), values in self._values.items():
            if differing({"": values[0]}, {"": values[-1]}):
                raise UserError(
                    f"{function.where} of arm {arm}",
                    "it gave other values the second time that it was given the same",
                    "it must depend on what it is given alone, and draw nothing",
                )


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as they are now."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def differing(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> list[str]:
    """The names under which two sets of tensors have other bytes."""
    return [name for name in some if _bytes(some[name]) != _bytes(others[name])]


def _bytes(tensor: Tensor) -> bytes:
    # bytes, not torch.equal: 0.0 == -0.0 there, and NaN is never itself
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
