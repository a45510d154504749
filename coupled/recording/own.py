"""Functions of a user's own, called with what a step has: their mistakes become one line, what they return is checked.

A function is given the run's own tensors, not copies, so that looking costs nothing. Torch has no tensor that cannot be
written to; what writes into one by torch's operations is seen by its version, at every call and without asking a GPU
for anything. What goes round that (`.data`, `.numpy()`) is seen before the first step, by bytes (`driver.own_streams`).
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coupled import streams
from coupled.arms.arm import Arm
from coupled.config import Config
from coupled.config.own_streams import stream_name
from coupled.errors import UserError, raised
from coupled.inputs.source import Batch
from coupled.recording.layout import own_column, train_layout
from coupled.recording.panels import Panels
from coupled.streams import ArmAtStep, ArmOnPanel, Layers


def at_step(arm: Arm, batch: Batch, learning_rate: float) -> ArmAtStep:
    """An arm behind its backward of a step's batch."""
    state, batch = arm.state, batch.of(arm.traits.inputs)
    common = len(state.shared_segments)
    return ArmAtStep(
        step=batch.step,
        arm=arm.name,
        learning_rate=learning_rate,
        temperature=arm.temperature,
        z=arm.z.detach(),
        sigma=arm.sigma.detach(),
        loss=arm.loss.detach(),
        ids=batch.ids,
        labels={name: batch.pairs[name].labels for name in batch.labels},  # those that are on the arms' device
        weights=Layers(state.weights, state.shared_segments),
        gradients=Layers(state.gradient, state.shared_segments),
        head=Layers(state.weights, state.weight_segments[common:]),
    )


def on_panel(arm: Arm, step: int, panels: Panels, embedded: Mapping[str, Tensor]) -> ArmOnPanel:
    """An arm on the panel, of which `embedded` is what `panels` made."""
    return ArmOnPanel(
        step=step,
        arm=arm.name,
        temperature=arm.temperature,
        h=embedded["state.h"].detach(),
        z=embedded["state.z"].detach(),
        ids=panels.ids,
        labels=panels.labels,
    )


class Function:
    """The function of [record.own.<name>], which files have registered."""

    def __init__(self, config: Config, name: str) -> None:
        registered = streams.registered(name)
        assert registered is not None, "the config was resolved with it"
        self._function, self._file = registered.function, Path(registered.origin).name
        owners, self.column = train_layout(config)[stream_name(name)], own_column(config, name)
        self.where, self.arms, self.of_panel = f"record.own.{name}", frozenset(owners), registered.of == "panel"
        self._wanted = next(iter(owners.values()))[self.column]

    def __call__(self, seen: ArmAtStep | ArmOnPanel) -> Tensor:
        """What it makes of an arm. UserError where it fails, changes or draws something, or gives another tensor."""
        given, before = seen.given(), _surroundings(seen.z.device)
        versions = {name: tensor._version for name, tensor in given.items()}
        try:
            with torch.no_grad():
                value = self._function(seen)
        except torch.OutOfMemoryError:  # the run's own words for it say more
            raise
        except (Exception, SystemExit) as error:
            raise self.mistake(seen, raised(error), f"mend it in {self._file}") from None
        if changed := [name for name, tensor in given.items() if tensor._version != versions[name]]:
            raise self.mistake(seen, f"it changes {', '.join(changed)}", "a stream only looks: work on a clone()")
        after = _surroundings(seen.z.device)
        if changed := [name for name in before if before[name] != after[name]]:
            raise self.mistake(seen, f"it changes {', '.join(changed)}", "a stream only looks, and draws nothing")
        return self._checked(seen, value)

    def mistake(self, seen: ArmAtStep | ArmOnPanel, what: str, do: str) -> UserError:
        """The line about what it did."""
        return UserError(f"{self.where} at step {seen.step} of arm {seen.arm}", what, do)

    def _checked(self, seen: ArmAtStep | ArmOnPanel, value: Any) -> Tensor:
        wanted = f"{self._wanted.dtype} {self._wanted.shape}"
        if isinstance(value, Tensor):  # a parameter, or of a class with an arithmetic of its own
            with torch._C.DisableTorchFunctionSubclass():
                value = value.as_subclass(Tensor)
        got, fits = type(value).__name__, isinstance(value, Tensor) and value.layout == torch.strided
        if isinstance(value, Tensor):
            got = f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
            got += "" if fits and not value.is_meta else " without elements of its own"
        if got != wanted:
            raise self.mistake(seen, f"it returned {got}", f"a tensor {wanted} was registered")
        return value


def _surroundings(device: torch.device) -> dict[str, Any]:
    """What functions share with the rest of a process, and must leave as it is."""
    words = np.random.get_state()  # noqa: NPY002 - the global generator, to see that nobody used it
    generators = [random.getstate(), *(word.tobytes() if isinstance(word, np.ndarray) else word for word in words)]
    generators.append(torch.get_rng_state().numpy().tobytes())
    if device.type == "cuda":  # seed and offset, which the host holds
        generators.append(torch.cuda.get_rng_state(device).numpy().tobytes())
    settings = (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_deterministic_debug_mode(),
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
    )
    return {"a global random generator": generators, "torch's settings": settings}
