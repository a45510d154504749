"""`coupled-run bench`: where a step's time goes, and how far it is from bare compute.

The run's own loop is timed, act by act, on a scratch directory, with a checkpoint every ten steps. After every ten the
same arms, copies with weights of their own, do ten bare ones: forward, backward and optimiser on a fixed batch, same
threads and layout; and a second run, which records nothing, does ten of its own. All are taken in turns so that a busy
machine slows all, and compared by medians.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from statistics import fmean, median
from typing import Any

import torch

from coupled.arms.initial import build_arms
from coupled.config import Config, Schedule
from coupled.driver.assembly import assemble
from coupled.driver.loop import advance, lockstep
from coupled.driver.reporter import Silent
from coupled.driver.run import Run
from coupled.errors import UserError
from coupled.theory.learning_rate import peak

# The acts of a step in their order. `data` is what the loop waits for (ids, labels, pair masks, pixels); the
# certificate's digests are with `guard`.
ACTS = ("data", "forward", "backward", "guard", "observe", "optimiser", "record")
WARM_UP = 5
# Steps in a row, then as many bare ones: whoever makes views ahead has a head start of two batches, not of every one.
BLOCK = 10


@dataclass(frozen=True)
class Bench:
    """Seconds: medians over the timed steps, but for `record`, whose mean is taken, as shards are written in lumps.

    `step` is the median of all acts but record together, plus record; `ratio` = step / bare. `views` is what
    making a batch takes in this process by itself; in a run another thread or process makes it ahead (not on a GPU),
    and `data` is the wait for it. `panel` is the longest observation of both panels by every
    arm, which is left out of `step` and of `acts`. `recording` is a block of ten steps with everything recorded, a
    checkpoint included and the disk waited for, over ten of a run that records nothing: the median over the blocks
    without a panel, each beside its own.
    """

    steps: int
    acts: dict[str, float]
    step: float
    bare: float
    views: float
    panel: float
    recording: float

    @property
    def ratio(self) -> float:
        return self.step / self.bare


def bench(config: Config, steps: int = 40) -> Bench:
    """Time `steps` steps of `config`, rounded up to tens, after a few to warm up. Raises UserError, RunStopped."""
    if steps < 1:
        raise UserError(f"{steps} steps", "at least 1 is needed")
    steps = -(-steps // BLOCK) * BLOCK
    with tempfile.TemporaryDirectory() as scratch:
        total = steps + WARM_UP
        at = tuple(range(WARM_UP + BLOCK, total, BLOCK))
        short = shortened(config, "bench", total, scratch, Schedule(steps=at))
        run, silent = assemble(short), assemble(_unrecorded(short))
        assert run is not None and silent is not None
        with run, silent:
            timer = Timer(run, silent)
            lockstep(run, timer)
        views = median(timer.seconds_of(run.source.at, step) for step in range(WARM_UP))
    return replace(timer.result(), views=views)


def shortened(config: Config, name: str, steps: int, runs: str, checkpoints: Schedule) -> Config:
    """The config for so many steps below `runs`, at a constant rate, with checkpoints for recovery alone."""
    return replace(
        config,
        name=name,
        train=replace(config.train, steps=steps),
        paths=replace(config.paths, runs=runs),
        optimiser=replace(config.optimiser, schedule="constant", horizon=None, warmup=0),
        checkpoints=replace(config.checkpoints, keep=Schedule(), recovery=checkpoints),
    )


def _unrecorded(config: Config) -> Config:
    """The same training, with no stream and no checkpoint."""
    off = {field.name: Schedule() for field in fields(config.record)}
    return replace(
        config,
        name="silent",
        record=replace(config.record, **off),
        panel=replace(config.panel, stages=False),
        checkpoints=replace(config.checkpoints, keep=Schedule(), recovery=Schedule()),
    )


class Timer(Silent):
    """A reporter that times the acts it wraps, and after every block of steps does as many bare and unrecorded ones."""

    def __init__(self, run: Run, silent: Run) -> None:
        self.run, self.silent, self.times = run, silent, defaultdict[str, float](float)
        self.recording: list[float] = []
        self.rows: list[dict[str, float]] = []
        self.bare: list[float] = []
        self.copies = build_arms(run.config, run.source.device)
        self.rate = peak(run.config.optimiser, run.config.batches.size)
        self.batch = run.source.at(0)
        self._wrap(run.stream, "at", "data")
        for arm in run.arms.values():
            self._wrap(arm, "forward", "forward")
            self._wrap(arm, "backward", "backward")
            self._wrap(arm, "update", "optimiser")
        self._wrap(run.recorder, "observe", "observe")
        self._wrap(run.recorder, "observe_update", "observe")
        for stream in ("panel", "surrogate"):
            self._wrap(run.recorder.observers[stream], "state", "panel")
        self._wrap(run, "checkpoint", "record")

    def begin(self, run: Run) -> None:
        self.started = self._now()

    def stepped(self, step: int) -> None:
        row = dict(self.times) | {"step": self._now() - self.started}
        if step > WARM_UP:
            self.rows.append(row)
            if len(self.rows) % BLOCK == 0:
                self._end_block(step)
        else:
            advance(self.silent, step - 1)
            if step == WARM_UP:
                self._bare_step()
                self.run.writer.drain()
                self.block_started = self._now()
        self.times.clear()
        self.started = self._now()

    def _end_block(self, step: int) -> None:
        """Wait for what this block wrote, then take the bare and the unrecorded steps beside it."""
        self.run.writer.drain()
        recorded = self._now() - self.block_started
        self.bare += [self._bare_step() for _ in range(BLOCK)]
        silent = sum(self.seconds_of(advance, self.silent, step - BLOCK + k) for k in range(BLOCK))
        if not any("panel" in row for row in self.rows[-BLOCK:]):
            self.recording.append(recorded / silent)
        self.block_started = self._now()

    def result(self) -> Bench:
        panel = [row["panel"] for row in self.rows if "panel" in row] or [0.0]
        for row in self.rows:
            observed, written = row.pop("panel", 0.0), row.get("record", 0.0)
            row["observe"] = row.get("observe", 0.0) - observed
            row["rest"] = row["step"] - observed - written
            row["guard"] = row["rest"] - sum(row.get(act, 0.0) for act in ACTS if act not in ("guard", "record"))
        acts = {act: median(row.get(act, 0.0) for row in self.rows) for act in ACTS}
        acts["record"] = fmean(row.get("record", 0.0) for row in self.rows)
        recording = median(self.recording) if self.recording else float("nan")
        step = median(row["rest"] for row in self.rows) + acts["record"]
        return Bench(len(self.rows), acts, step, median(self.bare), 0.0, max(panel), recording)

    def seconds_of(self, act: Callable[..., object], *arguments: object) -> float:
        """How long one call takes."""
        started = self._now()
        act(*arguments)
        return self._now() - started

    def _bare_step(self) -> float:
        started = self._now()
        for arm in self.copies.values():
            arm.forward_backward(self.batch)
        for arm in self.copies.values():
            arm.update(self.rate)
        return self._now() - started

    def _wrap(self, owner: Any, method: str, act: str) -> None:
        inner: Callable[..., Any] = getattr(owner, method)

        def timed(*arguments: Any, **options: Any) -> Any:
            started = self._now()
            try:
                return inner(*arguments, **options)
            finally:
                self.times[act] += self._now() - started

        setattr(owner, method, timed)

    def _now(self) -> float:
        # A GPU works behind the host's back: without waiting for it, an act would be charged to the next.
        if self.run.source.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()
