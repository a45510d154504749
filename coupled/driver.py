"""The driver: every arm through the same steps, in lockstep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch

from coupled.arms import Arm
from coupled.config import Config
from coupled.errors import RunStopped
from coupled.learning_rate import learning_rate
from coupled.run import Run, assemble, is_finished, path_of
from coupled.runtime import one_thread


class Reporter(Protocol):
    """What the driver tells whoever watches. `end` comes last, also when a run stops or never began."""

    def begin(self, run: Run) -> None: ...
    def stepped(self, step: int) -> None: ...
    def end(self) -> None: ...


class Silent:
    """A reporter that says nothing."""

    def begin(self, run: Run) -> None: ...
    def stepped(self, step: int) -> None: ...
    def end(self) -> None: ...


def train(config: Config, *, overwrite: bool = False, reporter: Reporter | None = None) -> Path:
    """Train every arm of `config` in lockstep; returns the run directory. A finished run is left alone.

    Raises UserError for what the user can mend, RunStopped when the run had to stop (a non-finite loss, a full disk).
    """
    if not overwrite and is_finished(config):
        return path_of(config)
    run = assemble(config, overwrite=overwrite)
    if run is None:
        return path_of(config)
    with run.directory:
        run.directory.log({"event": "start", "paths": {"data": config.paths.data}, "name": config.name})
        watching = reporter or Silent()
        try:
            lockstep(run, watching)
        except torch.OutOfMemoryError as error:
            raise RunStopped(
                f"out of memory ({str(error).splitlines()[0]}); coupled-run plan says what a step needs; "
                "lower batches.size or use a larger device"
            ) from error
        finally:
            run.stream.close()
            watching.end()
    return path_of(config)


def lockstep(run: Run, reporter: Reporter) -> None:
    """The one loop: step t is the state after t updates."""
    reporter.begin(run)
    run.checkpoint(0)
    for step in range(run.config.train.steps):
        batch = run.stream.at(step)
        rate = learning_rate(run.config.optimiser, step, run.config.batches.size)
        for arm in run.arms.values():
            arm.forward_backward(batch)
        guard(run, step)
        run.recorder.observe(step, batch, run.certificate.extend(batch, rate))
        for arm in run.arms.values():
            arm.update(rate)
        run.recorder.observe_update(step)
        run.checkpoint(step + 1)
        reporter.stepped(step + 1)
    run.finish()


def guard(run: Run, step: int) -> None:
    """Stop all arms before the update if any loss or gradient is not finite."""
    with one_thread():
        finite = torch.stack([check for arm in run.arms.values() for check in _finite(arm)])
    # A deliberate sync: the host must know before the update.
    if not bool(finite.all()):
        found = _first_bad(run.arms, finite.tolist())
        run.directory.log({"event": "stopped", "step": step, "reason": found})
        raise RunStopped(
            f"{found} at step {step}: all arms stopped before the update; records and checkpoints up to the last "
            f"checkpoint are in {run.directory.root}"
        )


def _finite(arm: Arm) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.isfinite(arm.loss), torch.isfinite(arm.state.gradient).all()


def _first_bad(arms: Mapping[str, Arm], finite: list[bool]) -> str:
    quantities = [(name, quantity) for name in arms for quantity in ("loss", "gradient")]
    name, quantity = next(q for q, fine in zip(quantities, finite, strict=True) if not fine)
    return f"arm {name} has a non-finite {quantity}"
