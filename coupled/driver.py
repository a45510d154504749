"""The driver: every arm through the same steps, in lockstep."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from signal import Signals
from typing import Any, Protocol

import torch

from coupled import checkpoints, preflight
from coupled.arms import Arm
from coupled.compared import Compared, compared
from coupled.config import Config
from coupled.errors import Preempted, RunStopped, UserError
from coupled.learning_rate import learning_rate
from coupled.preempt import Preemption
from coupled.ranks.exchange import fold
from coupled.ranks.faults import RankLost
from coupled.ranks.joining import joined, rank_here
from coupled.ranks.mesh import Mesh
from coupled.ranks.placement import Placement
from coupled.resuming import Terms, config_of, go_on, refuse_another
from coupled.run import DETERMINISM, Parts, Run, begin, build, is_finished, is_unfinished, path_of, ready
from coupled.runtime import one_thread
from coupled.shell import shell
from coupled.source import Batch
from coupled.store import is_half_extended, mend

_MENDING_S = 30.0  # it is two renames


class Reporter(Protocol):
    """What the driver tells whoever watches. `end` comes last, also when a run stops or never began."""

    def note(self, text: str) -> None: ...
    def begin(self, run: Run) -> None: ...
    def stepped(self, step: int) -> None: ...
    def is_due(self, step: int) -> bool: ...
    def show(self, step: int, rows: Sequence[Compared]) -> None: ...
    def end(self) -> None: ...


class Silent:
    """A reporter that says nothing."""

    def note(self, text: str) -> None: ...
    def begin(self, run: Run) -> None: ...
    def stepped(self, step: int) -> None: ...
    def is_due(self, step: int) -> bool:
        return False

    def show(self, step: int, rows: Sequence[Compared]) -> None: ...
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
    with joined(config) as mesh:
        found = mesh.on_first(lambda: _found(config, overwrite))
        if found == "finished":
            return path_of(config)
        terms = Terms(allow_drift=allow_drift, steal=steal) if found == "unfinished" else None
        return _drive(config, mesh, terms, overwrite, reporter or Silent())


def _found(config: Config, overwrite: bool) -> str:
    """Is this run "finished", "unfinished" or not there? UserError if another is in its place."""
    if overwrite:
        return ""
    if is_finished(config):
        return "finished"
    refuse_another(config)
    return "unfinished" if is_unfinished(config) else ""


def check(config: Config, *, overwrite: bool = False) -> bool:
    """Whether there is anything to train. What the user can mend is a UserError here, before any rank is started."""
    found = _found(config, overwrite)
    if found != "finished":
        ready(config)
        preflight.fits_on_disk(config, preflight.size_of(path_of(config)) if found else 0)
    return found != "finished"


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
    path, watching, terms = Path(run), reporter or Silent(), terms or Terms()
    mended(path)
    config, notes = config_of(path, extend=extend, overrides=overrides)
    with joined(config) as mesh:
        if mesh.is_first:
            for note in notes:
                watching.note(note)
        if mesh.on_first(lambda: extend is None and terms.from_step is None and is_finished(config)):
            return path
        return _drive(config, mesh, terms, False, watching)


def mended(path: Path) -> None:
    """Complete an extension that was killed in its commit: rank 0 does, the others wait for it. What is read of a run
    before that does not fit together.
    """
    if rank_here() == 0:
        mend(path)
    ends = time.monotonic() + _MENDING_S
    while is_half_extended(path) and time.monotonic() < ends:
        time.sleep(0.1)


def _drive(config: Config, mesh: Mesh, terms: Terms | None, overwrite: bool, reporter: Reporter) -> Path:
    """Build, check, open the directory (`terms`: the one that is there), step to the end."""
    path, reporter = path_of(config), reporter if mesh.is_first else Silent()
    with Preemption(mesh) as preemption:
        try:
            if mesh.placement is not None:
                reporter.note(f"ranks: {mesh.placement}")
            parts = build(config, mesh)
            mesh.on_first(lambda: preflight.fits_on_disk(config, preflight.size_of(path) if terms else 0))
            mesh.together(lambda: preflight.repeats_its_bytes(parts))
            if parts.source.left_out:
                reporter.note(f"left out of {config.data.name}: {parts.source.left_out}")
            reporter.note(f"determinism: {DETERMINISM} (self-check: one step twice, equal bytes)")
            run = begin(parts, overwrite=overwrite) if terms is None else _gone_on(parts, terms, reporter)
            if run is not None:
                with run:
                    run.log(_start_event(run))
                    lockstep(run, reporter, preemption)
        except torch.OutOfMemoryError as error:
            raise RunStopped(
                f"out of memory ({str(error).splitlines()[0]}); coupled-run plan says what a step needs; "
                "lower batches.size or use a larger device"
            ) from error
        except RankLost as error:
            raise RankLost(
                f"{error}; what was committed stands; next: coupled-run resume {shell(path)}", error.quiet
            ) from None
        finally:
            reporter.end()
    return path


def _gone_on(parts: Parts, terms: Terms, reporter: Reporter) -> Run:
    run, position = go_on(parts, terms)
    for note in position.notes:
        reporter.note(note)
        run.log({"event": "recovered", "note": note})
    reporter.note(f"resumed at step {run.start}" if run.restored else "no saved state yet: from the beginning")
    return run


def _start_event(run: Run) -> dict[str, Any]:
    config, placement = run.config, run.mesh.placement or Placement((tuple(run.config.arms),))
    # A log is JSON in UTF-8: what is not UTF-8 of a name is escaped. All else stays, for `resume` reads the path.
    name, data = (text.encode("utf-8", "backslashreplace").decode() for text in (config.name, config.paths.data))
    elastic = {"name": name, "paths": {"data": data}, "workers": config.data.workers}
    return {
        "event": "resume" if run.restored else "start",
        "step": run.start,
        "writing": asdict(config.writing),
        "ranks": {"arms": len(placement.groups), "data": placement.data},
        **elastic,
    }


def lockstep(run: Run, reporter: Reporter, preemption: Preemption | None = None) -> None:
    """The one loop: step t is the state after t updates."""
    reporter.begin(run)
    run.begin()
    steps = run.config.train.steps
    for step in range(run.start, steps):
        meet(run, step, reporter, preemption)
        advance(run, step)
        reporter.stepped(step + 1)
    meet(run, steps, reporter, None)
    run.finish()


def forward_backward(run: Run, batch: Batch) -> UserError | None:
    """Of every arm here; what a user's objective does wrong is for the guard to tell, which all ranks come to."""
    try:
        for arm in run.arms.values():
            arm.forward_backward(batch)
    except UserError as error:
        return error
    return None


def meet(run: Run, step: int, reporter: Reporter, preemption: Preemption | None) -> None:
    """Between two steps: show all ranks' progress if that is due, and leave if a signal asked any of them to."""
    asked, due = run.mesh.most(0 if preemption is None else preemption.asked, reporter.is_due(step))
    if due and step > run.start:
        reporter.show(step, compared(run))
    if asked:
        leave(run, step, Signals(asked).name)


def advance(run: Run, step: int) -> None:
    """Every arm from `step` to `step` + 1."""
    batch = run.stream.at(step)
    rate = learning_rate(run.config.optimiser, step, run.config.batches.size)
    guard(run, step, forward_backward(run, batch))
    run.recorder.observe(step, batch, run.certificate.extend(batch, rate))
    for arm in run.arms.values():
        arm.update(rate)
    run.recorder.observe_update(step)
    check_copies(run, step + 1)
    run.checkpoint(step + 1)


def leave(run: Run, step: int, signal: str) -> None:
    """Make the state durable and go."""
    run.preempt(step)
    run.log({"event": "preempted", "step": step, "signal": signal})
    raise run.mesh.ending(
        Preempted(f"{signal}: stopped at step {step}, nothing is lost; next: coupled-run resume {shell(run.root)}")
    )


def guard(run: Run, step: int, error: UserError | None = None) -> None:
    """Stop all arms before the update if any loss or gradient is not finite, if one could not be computed (`error`), or
    if nothing can be written any more.
    """
    own = {} if error else _not_finite(run.arms)
    bad = [flag for name in run.config.arms for flag in own.get(name, (False, False))]
    *bad, wrong, failed = run.mesh.most(*bad, error is not None, run.writer.failed)
    if wrong:
        run.mesh.agree(error)
    if failed:
        run.drain()
    if any(bad):
        found = _first_bad(list(run.config.arms), bad)
        run.log({"event": "stopped", "step": step, "reason": found})
        raise run.mesh.ending(
            RunStopped(
                f"{found} at step {step}: all arms stopped before the update; records and checkpoints up to the last "
                f"checkpoint are in {run.root}"
            )
        )


def check_copies(run: Run, step: int) -> None:
    """On schedule: ranks that share an arm have the same weights, bit for bit, or the run stops."""
    if run.mesh.data.size == 1 or not (step % run.config.ranks.check == 0 or step in run.checkpoint_steps):
        return
    folded = torch.stack([fold(tensor) for arm in run.arms.values() for tensor in checkpoints.tensors(arm).values()])
    differing = bool((run.mesh.data.gathered(folded) != folded).any())
    if any(run.mesh.most(differing)):
        found = f"ranks that share an arm had other weights after step {step}"
        run.log({"event": "stopped", "step": step, "reason": found})
        raise run.mesh.ending(RunStopped(f"{found}: their updates were not the same; resume from the last checkpoint"))


def _not_finite(arms: Mapping[str, Arm]) -> dict[str, tuple[bool, bool]]:
    """Whether the loss and the gradient of each arm are not finite."""
    with one_thread():
        finite = torch.stack([check for arm in arms.values() for check in _finite(arm)])
    # A deliberate sync: the host must know before the update.
    return {
        name: (not loss, not gradient) for name, (loss, gradient) in zip(arms, finite.view(-1, 2).tolist(), strict=True)
    }


def _finite(arm: Arm) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.isfinite(arm.loss), torch.isfinite(arm.state.gradient).all()


def _first_bad(arms: Sequence[str], bad: Sequence[int]) -> str:
    quantities = [(name, quantity) for name in arms for quantity in ("loss", "gradient")]
    name, quantity = next(q for q, flag in zip(quantities, bad, strict=True) if flag)
    return f"arm {name} has a non-finite {quantity}"
