"""`coupled-run bench`: where a step's time goes, and how far it is from what stock PyTorch takes.

The run's own loop is timed on a scratch directory in blocks of steps. After every block come as many steps, on a fixed
batch, of copies of the arms (bare compute: forward, backward and optimiser) and of stock networks (`stock.py`), and as
many of a second run that records nothing. All are taken in turns so that a busy machine slows all, each is compared
with ours of the same block, and medians over the blocks are given. Panels are timed afterwards, against an evaluation
forward by stock networks.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import Any

import torch

from coupled.arms.initial import build_arms
from coupled.bench.clock import Clock, Mark
from coupled.bench.yardsticks import evaluate, faster_stock, in_turns, multiplying_rate, step_flops, timed
from coupled.config import Config, Schedule
from coupled.driver.assembly import Parts, assemble, build, start_run
from coupled.driver.loop import advance, lockstep
from coupled.driver.reporter import Silent
from coupled.driver.run import Run
from coupled.errors import UserError
from coupled.recording.schedule import checkpoint_steps
from coupled.theory.learning_rate import peak

# The acts of a step in their order. `data` is what the loop waits for (ids, labels, pair masks, pixels); the
# certificate's digests are with `guard`. Where CUDA graphs are on, `backward` has the forward in it.
ACTS = ("data", "forward", "backward", "guard", "observe", "optimiser", "record")
WARM_UP = 5
# Steps in a row, at most, before the others have their turn; and so many blocks where there are steps enough. They are
# many and short: what disturbs one comparison leaves the median alone.
BLOCK, BLOCKS = 5, 10
_PANELS = 5  # observations of the panels, at most


@dataclass(frozen=True)
class Block:
    """Seconds a step in one block, by act and in all (`step`), panels and what a checkpoint takes apart.

    `boundary`: at its end, to close shards and commit a checkpoint, waiting for the disk included. `recording`: the
    whole block, that included, over the same of a run that records nothing.
    """

    acts: dict[str, float]
    step: float
    boundary: float
    bare: float
    stock: float
    recording: float


@dataclass(frozen=True)
class Bench:
    """Seconds: medians over the blocks.

    `step` has all acts but panels; of a checkpoint with the shards that close at it, as much a step as the config's own
    schedule gives, and that is the act `record`. `ratios` are step / stock of every block, `ratio` is their median, as
    `bare_ratio` is that of step / bare. `layout`: of the stock networks. `views` is what making a batch takes in this
    process by itself; in a run another thread or process makes it ahead, and `data` is the wait for it.
    `panel` is one observation of the panels that are recorded, by every arm, and `panel_ratio` it over an evaluation
    forward of the same images by stock networks; None where no panel is recorded. `flops`: floating-point operations of
    a stock step; `multiplying`: as many a second in a large matrix product. `memory`: bytes of a GPU that the run alone
    had at most, in tensors and in all that torch reserved (what graphs hold between steps is in the second only); None
    on a CPU. `graphs`: why the run's steps are no CUDA graphs; "" if they are. `at_once`: those of all arms run side by
    side.
    """

    steps: int
    blocks: int
    acts: dict[str, float]
    step: float
    bare: float
    stock: float
    ratios: tuple[float, ...]
    bare_ratio: float
    recording: float
    layout: str
    views: float
    panel: float | None
    panel_ratio: float | None
    flops: int
    multiplying: float
    memory: tuple[int, int] | None
    graphs: str
    at_once: bool

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def looking(self) -> float:
        """The share of the step that observers and the guard take."""
        return (self.acts["observe"] + self.acts["guard"]) / self.step


def bench(config: Config, steps: int = 50, working: Callable[[int, int], None] = lambda done, blocks: None) -> Bench:
    """Time `steps` steps of `config`, rounded up to whole blocks (`in_blocks`), after a few to warm up.

    `working` is told how many blocks are done, of how many: first when the warm-up is. Raises UserError, RunStopped.
    """
    if steps < 1:
        raise UserError(f"{steps} steps", "at least 1 is needed")
    block, count = in_blocks(steps)
    total = WARM_UP + block * count
    at = Schedule(steps=tuple(range(WARM_UP, total + 1, block)))
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        short = without_panels(shortened(config, "bench", total, scratch, at))
        parts = build(short)
        if parts.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(parts.device)
        run = start_run(parts)
        assert run is not None
        timer = Timer(stack.enter_context(run), block, lambda: stack.enter_context(_silent(short)))
        timer.working = lambda done: working(done, count)
        lockstep(run, timer)
        panel = _panels(config, parts, timer)
        source = parts.source
        views = median(timed(timer.clock, source.at, step) for step in range(WARM_UP))
        return _summary(
            config,
            timer,
            views=views,
            panel=panel,
            flops=step_flops(short, parts.device, timer.batch),
            multiplying=multiplying_rate(short, parts.device, timer.clock),
        )


def in_blocks(steps: int) -> tuple[int, int]:
    """The length of a block, and how many give at least `steps` steps."""
    length = min(BLOCK, max(1, steps // BLOCKS))
    return length, -(-steps // length)


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


def without_panels(config: Config) -> Config:
    """The same run, whose steps meet no panel."""
    own = {name: stream for name, stream in config.record.own.items() if stream.of != "panel"}
    record = replace(config.record, panel=Schedule(), surrogate=Schedule(), own=own)
    return replace(config, record=record, panel=replace(config.panel, stages=False))


def _silent(config: Config) -> Run:
    """The same training, with no stream and no checkpoint."""
    off = {field.name: Schedule() for field in fields(config.record) if field.name != "own"}
    silent = assemble(
        replace(
            config,
            name="silent",
            record=replace(config.record, **off, own={}),
            checkpoints=replace(config.checkpoints, keep=Schedule(), recovery=Schedule()),
        )
    )
    assert silent is not None
    return silent


def _panels(config: Config, parts: Parts, timer: "Timer") -> tuple[float, float] | None:
    """Seconds of one observation of the panels that the config records, and its ratio to stock; None without any."""
    panels = parts.panels
    acts = {"panel": panels.panel, "surrogate": panels.surrogate}
    recorded = [stream for stream in acts if getattr(config.record, stream) != Schedule()]
    if not recorded:
        return None
    images = [panels.images[stream] for stream in recorded]
    turns = min(_PANELS, len(timer.blocks))
    return in_turns(
        timer.clock,
        lambda: [acts[stream](parts.arms) for stream in recorded],
        lambda: evaluate(timer.stock, images),
        turns,
    )


def _summary(
    config: Config, timer: "Timer", *, views: float, panel: tuple[float, float] | None, flops: int, multiplying: float
) -> Bench:
    blocks, share = timer.blocks, len(checkpoint_steps(config)) / max(1, config.train.steps)
    record = median(block.boundary for block in blocks) * share
    acts = {act: median(block.acts[act] for block in blocks) for act in ACTS}
    return Bench(
        steps=len(blocks) * timer.length,
        blocks=len(blocks),
        acts=acts | {"record": acts["record"] + record},
        step=median(block.step for block in blocks) + record,
        bare=median(block.bare for block in blocks),
        stock=median(block.stock for block in blocks),
        ratios=tuple((block.step + record) / block.stock for block in blocks),
        bare_ratio=median((block.step + record) / block.bare for block in blocks),
        recording=median(block.recording for block in blocks),
        layout=timer.layout,
        views=views,
        panel=None if panel is None else panel[0],
        panel_ratio=None if panel is None else panel[1],
        flops=flops,
        multiplying=multiplying,
        memory=timer.memory,
        graphs=timer.run.graphs.why_not,
        at_once=timer.run.graphs.at_once,
    )


def _host_seconds(act: Callable[[], object]) -> float:
    """Seconds until a call returns, by the host's clock."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


class Timer(Silent):
    """A reporter that times the acts it wraps, and after every block of `length` steps does as many of the others.

    What a run is compared with is built after its first steps: until then it has the device to itself.
    """

    def __init__(self, run: Run, length: int, silent: Callable[[], Run]) -> None:
        self.run, self.length, self.clock, self._make_silent = run, length, Clock(run.source.device), silent
        self.working: Callable[[int], None] = lambda done: None
        self.memory: tuple[int, int] | None = None
        self.blocks: list[Block] = []
        self.spans: list[tuple[str, Mark, Mark]] = []
        self._wrap(run.stream, "at", "data")
        if run.graphs.is_on:  # a graph has both, and those of all arms may run side by side
            self._wrap(run.audits, "forward_backward", "backward")
        for arm in run.arms.values():
            if not run.graphs.is_on:
                self._wrap(arm, "forward", "forward")
                self._wrap(arm, "backward", "backward")
                self._wrap(arm, "_gradient_of", "backward")  # a backward more, of another arm's loss
            self._wrap(arm, "update", "optimiser")
        self._wrap(run.recorder, "observe", "observe")
        self._wrap(run.recorder, "observe_update", "observe")
        self._wrap(run, "checkpoint", "record")

    def stepped(self, step: int) -> None:
        if step == WARM_UP:
            self.run.writer.drain()
            self._prepare()
            self.working(0)
            self._begin_block()
        elif step > WARM_UP and (step - WARM_UP) % self.length == 0:
            self._end_block(step)
            self.working(len(self.blocks))
            self._begin_block()

    def _prepare(self) -> None:
        """Build what the run is compared with, and warm it up."""
        source = self.run.source
        if source.device.type == "cuda":
            most = torch.cuda.max_memory_allocated, torch.cuda.max_memory_reserved
            self.memory = most[0](source.device), most[1](source.device)
        self.batch = source.at(0)
        # The thread that makes views ahead does so while others have their turn: it is given time to end.
        self.pause = 2 * _host_seconds(lambda: source.at(1))
        self.copies = build_arms(self.run.config, source.device)
        self.rate = peak(self.run.config.optimiser, self.run.config.batches.size)
        self.stock, self.layout = faster_stock(self.run.config, source.device, self.batch, self.clock)
        self.silent = self._make_silent()
        for step in range(2):
            self._bare_step()
            advance(self.silent, step)

    def _begin_block(self) -> None:
        time.sleep(self.pause)
        self.spans.clear()
        self.started = self.clock.mark()

    def _end_block(self, step: int) -> None:
        """Wait for what this block wrote, then take the bare, the stock and the unrecorded steps beside it."""
        ended = self.clock.mark()
        boundary = [(start, end) for act, start, end in self.spans if act == "record"][-1]
        seconds = self.clock.seconds
        times = defaultdict[str, float](float)
        for act, start, end in self.spans:
            times[act] += seconds(start, end)
        closing, whole = seconds(*boundary), seconds(self.started, ended)
        drained = _host_seconds(self.run.writer.drain)
        time.sleep(self.pause)
        bare = self._block_of(lambda k: self._bare_step())
        stock = self._block_of(lambda k: self.stock.step(self.batch))
        silent = self._block_of(lambda k: advance(self.silent, step - WARM_UP - self.length + 2 + k))
        times["guard"] = whole - sum(times.values())
        times["record"] -= closing
        self.blocks.append(
            Block(
                acts={act: times[act] / self.length for act in ACTS},
                step=(whole - closing) / self.length,
                boundary=closing + drained,
                bare=bare,
                stock=stock,
                recording=(whole + drained) / self.length / silent,
            )
        )

    def _block_of(self, act: Callable[[int], None]) -> float:
        """Seconds a step of as many steps as a block has, of something else."""
        return timed(self.clock, lambda: [act(k) for k in range(self.length)]) / self.length

    def _bare_step(self) -> None:
        for arm in self.copies.values():
            arm.forward_backward(self.batch)
        for arm in self.copies.values():
            arm.update(self.rate)

    def _wrap(self, owner: Any, method: str, act: str) -> None:
        inner: Callable[..., Any] = getattr(owner, method)

        def timed_inner(*arguments: Any, **options: Any) -> Any:
            start = self.clock.mark()
            try:
                return inner(*arguments, **options)
            finally:
                self.spans.append((act, start, self.clock.mark()))

        setattr(owner, method, timed_inner)
