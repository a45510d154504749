"""The trackers that a run can be mirrored to. A new one is a class here and a line in `TRACKERS`.

Their libraries are loaded on the tracker's own thread, when a run begins that names them.
"""

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from coupled.errors import UserError
from coupled.tracking.mirror import Tracker

PROJECT: Final = "coupled"
_EXTRA: Final = "pip install 'coupled[trackers]'"


@dataclass(frozen=True)
class Tracked:
    """The run as a tracker is told of it. `folder`: RUN/log, outside every hash; `id`: the same when the run goes on;
    `start`: the step that it goes on from, 0 at its beginning; `config`: the resolved one, as tables.
    """

    name: str
    folder: Path
    id: str
    start: int
    config: Mapping[str, Any]


class TensorBoard:
    """Events in RUN/log/tensorboard, read by `tensorboard --logdir RUN/log/tensorboard`.

    A run that goes on has them written on; TensorBoard then hides what lies behind the step it goes on from.
    """

    def __init__(self, run: Tracked) -> None:
        writer = _writer()
        self._writer = writer(str(run.folder / "tensorboard"), purge_step=run.start or None, flush_secs=10)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar for each value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, global_step=step)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


def _writer() -> Callable[..., Any]:
    """The writer of torch, which needs the package tensorboard, or that of tensorboardX."""
    try:
        return importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError:
        pass
    return _library("tensorboardX", "tensorboard").SummaryWriter


class Trackio:
    """trackio's local store (TRACKIO_DIR says where), read by `trackio show --project coupled`."""

    def __init__(self, run: Tracked) -> None:
        self._trackio = _library("trackio", "trackio")
        # It prints to stdout, where a command's results go.
        self._trackio.print = partial(print, file=sys.stderr)  # type: ignore[reportAttributeAccessIssue]
        config = dict(run.config)
        self._trackio.init(project=PROJECT, name=f"{run.name}-{run.id}", config=config, resume="allow", embed=False)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """All values of a step together."""
        self._trackio.log(dict(values), step=step)

    def close(self) -> None:
        """Ends the run there."""
        self._trackio.finish()


class Wandb:
    """Weights & Biases in RUN/log, offline unless WANDB_MODE says otherwise; `wandb sync` uploads it where asked to."""

    def __init__(self, run: Tracked) -> None:
        wandb = _library("wandb", "wandb")
        self._run = wandb.init(
            project=PROJECT,
            name=run.name,
            id=run.id,
            dir=str(run.folder),
            config=dict(run.config),
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True, disable_git=True),
        )
        # Panels come later than the steps around them: its own count of steps would refuse them.
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """All values of a step together."""
        self._run.log({**values, "step": step})

    def close(self) -> None:
        """Ends the run there."""
        self._run.finish()


TRACKERS: Final[dict[str, Callable[[Tracked], Tracker]]] = {
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": Wandb,
}


def _library(module: str, library: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(f"{library} is not installed here", "the run goes on without it", _EXTRA) from None
