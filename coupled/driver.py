"""The driver: every arm through the same steps, in lockstep."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from coupled import preflight
from coupled.arms import Arm
from coupled.config import Config
from coupled.errors import Preempted, RunStopped
from coupled.learning_rate import learning_rate
from coupled.preempt import Preemption
from coupled.resuming import Terms, config_of, go_on, refuse_another
from coupled.run import DETERMINISM, Parts, Run, begin, build, is_finished, is_unfinished, path_of
from coupled.runtime import one_thread
from coupled.store import mend


class Reporter(Protocol):
    """What the driver tells whoever watches. `end` comes last, also when a run stops or never began."""

    def note(self, text: str) -> None: ...
    def begin(self, run: Run) -> None: ...
    def stepped(self, step: int) -> None: ...
    def end(self) -> None: ...


class Silent:
    """A reporter that says nothing."""

    def note(self, text: str) -> None: ...
    def begin(self, run: Run) -> None: ...
    def stepped(self, step: int) -> None: ...
    def end(self) -> None: ...


def train(
    config: Config,
    *,
    overwrite: bool = False,
    allow_drift: bool = False,
    steal: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Train every arm of `config` in lockstep; returns the run directory.

    A finished run is left alone, an unfinished one goes on from its newest saved state (`Terms` says what `allow_drift`
    and `steal` do there). Raises UserError for what the user can mend, RunStopped when the run had to stop (a
    non-finite loss, a full disk), Preempted when it was asked to.
    """
    if not overwrite and is_finished(config):
        return path_of(config)
    if not overwrite:
        refuse_another(config)
    terms = None if overwrite or not is_unfinished(config) else Terms(allow_drift=allow_drift, steal=steal)
    return _drive(config, terms, overwrite, reporter or Silent())


def resume(
    run: str | Path,
    *,
    extend: int | None = None,
    terms: Terms | None = None,
    overrides: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Path:
    """Go on with the run at this path until its end, or until `extend` steps; returns its path.

    `overrides` set elastic fields ("data.workers=4"). A finished run is left alone unless `extend` or `terms.from_step`
    asks for more. Raises like `train`.
    """
    path, watching = Path(run), reporter or Silent()
    mend(path)
    config, notes = config_of(path, extend=extend, overrides=overrides)
    for note in notes:
        watching.note(note)
    terms = terms or Terms()
    if extend is None and terms.from_step is None and is_finished(config):
        return path
    _drive(config, terms, False, watching)
    return path


def _drive(config: Config, terms: Terms | None, overwrite: bool, reporter: Reporter) -> Path:
    """Build, check, open the directory (`terms`: the one that is there), step to the end."""
    path = path_of(config)
    with Preemption() as preemption:
        try:
            parts = build(config)
            preflight.fits_on_disk(config, preflight.size_of(path) if terms else 0)
            preflight.repeats_its_bytes(parts)
            reporter.note(f"determinism: {DETERMINISM} (self-check: one step twice, equal bytes)")
            run = begin(parts, overwrite=overwrite) if terms is None else _gone_on(parts, terms, reporter)
            if run is not None:
                with run:
                    run.directory.log(_start_event(run))
                    lockstep(run, reporter, preemption)
        except torch.OutOfMemoryError as error:
            raise RunStopped(
                f"out of memory ({str(error).splitlines()[0]}); coupled-run plan says what a step needs; "
                "lower batches.size or use a larger device"
            ) from error
        finally:
            reporter.end()
    return path


def _gone_on(parts: Parts, terms: Terms, reporter: Reporter) -> Run:
    run, position = go_on(parts, terms)
    for note in position.notes:
        reporter.note(note)
        run.directory.log({"event": "recovered", "note": note})
    reporter.note(f"resumed at step {run.start}" if run.restored else "no saved state yet: from the beginning")
    return run


def _start_event(run: Run) -> dict[str, Any]:
    config = run.config
    elastic = {"name": config.name, "paths": {"data": config.paths.data}, "workers": config.data.workers}
    return {
        "event": "resume" if run.restored else "start",
        "step": run.start,
        "writing": asdict(config.writing),
        **elastic,
    }


def lockstep(run: Run, reporter: Reporter, preemption: Preemption | None = None) -> None:
    """The one loop: step t is the state after t updates."""
    reporter.begin(run)
    run.begin()
    for step in range(run.start, run.config.train.steps):
        leave_if_asked(run, step, preemption)
        advance(run, step)
        reporter.stepped(step + 1)
    run.finish()


def advance(run: Run, step: int) -> None:
    """Every arm from `step` to `step` + 1."""
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


def leave_if_asked(run: Run, step: int, preemption: Preemption | None) -> None:
    """Between two steps: make the state durable and leave, if a signal asked for it."""
    if preemption is None or not preemption.asked:
        return
    run.preempt(step)
    run.directory.log({"event": "preempted", "step": step, "signal": preemption.asked})
    root = run.directory.root
    raise Preempted(f"{preemption.asked}: stopped at step {step}, nothing is lost; next: coupled-run resume {root}")


def guard(run: Run, step: int) -> None:
    """Stop all arms before the update if any loss or gradient is not finite, or if nothing can be written any more."""
    run.writer.check()
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
