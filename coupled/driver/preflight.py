"""Before the first step: is there anything to train, will it fit, does one step twice give equal bytes?"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from coupled import runtime
from coupled.arms.arm import Arm
from coupled.config import Config
from coupled.config.identity import path_of
from coupled.driver.assembly import Parts, is_finished, is_unfinished, ready
from coupled.driver.own_streams import Trial, copies, differing
from coupled.driver.resuming import refuse_another
from coupled.errors import RunStopped, UserError
from coupled.planning.fullness import fullness
from coupled.planning.plan import disk_bytes, plan
from coupled.reading.imported import refuse_imported
from coupled.terminal.sizes import shown_bytes
from coupled.theory.learning_rate import peak


def state_of(config: Config, *, overwrite: bool = False) -> str:
    """Is this run "finished", "unfinished" or not there? UserError if another is in its place."""
    if overwrite:
        return ""
    refuse_imported(path_of(config))
    if is_finished(config):
        return "finished"
    refuse_another(config)
    return "unfinished" if is_unfinished(config) else ""


def anything_to_train(config: Config, *, overwrite: bool = False) -> bool:
    """Whether there is anything to train. What the user can mend is a UserError here, before any rank is started."""
    state = state_of(config, overwrite=overwrite)
    if state != "finished":
        ready(config)
        fits_on_disk(config, size_of(path_of(config)) if state else 0)
    return state != "finished"


def repeats_its_bytes(parts: Parts) -> None:
    """Takes the first step twice from the initial state, which is left as it was; RunStopped if any byte differs.

    Weights, buffers, optimiser state, gradient, z and pixels are compared, of every arm. Streams of the user's own are
    tried out beside it, at both: UserError where one does what it must not.
    """
    if not parts.config.train.steps:
        return
    before, own = {name: copies(_state(arm)) for name, arm in parts.arms.items()}, Trial(parts)
    first, second = (_step(parts, before, own) for _ in range(2))
    runtime.give_back_memory()
    own.judge()
    if others := differing(first, second):
        raise RunStopped(
            f"one step taken twice gave different bytes ({', '.join(others[:4])}): on this device with these "
            "settings nothing can be promised; nothing was written. Use another device, precision or memory_format"
        )


def fits_on_disk(config: Config, already: int = 0) -> None:
    """UserError if the file system of the run has less room than `plan` says it needs beyond `already` bytes."""
    has_room(path_of(config), disk_bytes(config) - already, "the run needs")


def has_room(path: Path, needed: int, needs: str) -> None:
    """UserError if the file system of `path` has less than `needed` bytes free. `needs`: who needs them, in words."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise UserError(
            f"{shown_bytes(free)} are free at {place}",
            f"{needs} {shown_bytes(needed)}",
            "make room, set paths.runs, or record less (coupled-run plan shows what takes how much)",
        )


def room_on_device(config: Config, ranks: int) -> str:
    """A line where the device has little room beside what `plan` counts, else ""; nothing on a CPU."""
    memory = runtime.device_memory(config)
    return "" if memory is None else fullness(plan(config, ranks), memory)


def size_of(path: Path) -> int:
    """Bytes of all files below `path`."""
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


def _step(parts: Parts, before: Mapping[str, Mapping[str, Tensor]], own: Trial) -> dict[str, Tensor]:
    """The tensors that one step from the initial state gives; that state is restored afterwards."""
    config = parts.config
    batch = parts.source.at(0)
    rate = peak(config.optimiser, config.batches.size)  # a warm-up from 0 would hide the update
    seen = {"pixels": batch.pixels, **{f"pixels of {of}": other.pixels for of, other in batch.others.items()}}
    for name, arm in parts.arms.items():
        arm.forward_backward(batch)
        own.look(arm, batch, rate)
        seen |= {f"{name}'s z": arm.z, f"{name}'s gradient": arm.state.gradient.clone()}
        arm.update(rate)
        seen |= {f"{name}'s {key}": value for key, value in copies(_state(arm)).items()}
        _put_back(arm, before[name])
    return seen


def _state(arm: Arm) -> dict[str, Tensor]:
    return {"weights": arm.state.weights, "buffers": arm.state.buffers, **arm.optimiser.tensors()}


def _put_back(arm: Arm, before: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        arm.state.weights.copy_(before["weights"])
        arm.state.buffers.copy_(before["buffers"])
    arm.optimiser.load({}, 0)
