"""Speed on the device: ours, in turns with the same networks as plain PyTorch trains them."""

import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from helpers import tables
from parts import check, part

from coupled import runtime
from coupled.bench.stock import Stock
from coupled.config import Config, Schedule, from_tables
from coupled.driver.assembly import assemble
from coupled.driver.loop import advance
from coupled.driver.run import Run
from coupled.recording import checkpoints

STYLES = {"bf16": {"precision": "bf16"}, "TF32": {"tf32": True}, "float32": {}}
BLOCKS = 3
LONG = 500.0  # ms: of steps that take longer there is one a block, else four


def config_of(
    folder: str, encoder: str, style: str, size: int, layout: str = "channels_last", **others: object
) -> Config:
    """Two arms, and `others`, at the size users work at, default recording, panels at step 0 alone."""
    given = tables(
        name=f"{encoder}-{style}-{layout}",
        data={"name": "shapes", "labelling": "size", "per_class": 4096 // 2},
        batches={"size": size},
        views={"size": 32},
        model={"encoder": encoder, "projection_hidden": 512, "projection_dim": 128, "width": 64},
        train={"steps": 1000, "device": "cuda", "memory_format": layout, "views_forward": "joint", **STYLES[style]},
        panel={"size": 1024, "surrogate_size": 128},
        record={"panel": {"steps": [0]}, "surrogate": {"steps": [0]}},
        checkpoints={"keep": {"steps": [0]}},
        arms={"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, **others},
        paths={"runs": folder},
    )
    return from_tables(given)


def timed(act: Callable[[], object]) -> float:
    """Milliseconds by the device's own clock, of an act and all that it enqueues."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    act()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def peaks_of(act: Callable[[], object]) -> tuple[float, float]:
    """The most memory that comes on top during an act, GiB: of tensors, and of all that torch reserves."""
    runtime.forget_run()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    act()
    torch.cuda.synchronize()
    most = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return (most[0] - before[0]) / 2**30, (most[1] - before[1]) / 2**30


def measured(encoder: str, style: str, size: int, *, both: bool) -> str:
    """One row of the table. `both`: without graphs as well."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        config = config_of(folder, encoder, style, size)
        off = {name: Schedule() for name in vars(config.record)}
        configs = {"ours": config, "silent": replace(config, name="silent", record=replace(config.record, **off))}
        if both:
            configs["launched"] = replace(config, name="launched", train=replace(config.train, graphs=False))
        runs: dict[str, Run] = {}
        at = defaultdict[str, int](int)

        def steps(name: str) -> None:
            for _ in range(length):
                advance(runs[name], at[name])
                at[name] += 1

        length = 4  # the third captures the last graphs

        def begin(name: str) -> None:
            runs[name] = stack.enter_context(assemble(configs[name]))
            steps(name)

        own = peaks_of(lambda: begin("ours"))
        for name in [name for name in configs if name != "ours"]:
            begin(name)
        run, length = runs["ours"], 1
        length = 1 if timed(lambda: steps("ours")) > LONG else 4
        batch = run.source.at(0)
        stocks: list[Stock] = []

        def begin_stock() -> None:
            stocks.append(Stock(config, batch.pixels.device, torch.channels_last))
            for _ in range(2):
                stocks[0].step(batch)

        theirs = peaks_of(begin_stock)
        acts: dict[str, Callable[[], object]] = {name: lambda name=name: steps(name) for name in runs}
        acts["bare"] = lambda: [bare(run, batch) for _ in range(length)]
        acts["stock"] = lambda: [stocks[0].step(batch) for _ in range(length)]
        times = defaultdict[str, list[float]](list)
        for _ in range(BLOCKS):
            for name, act in acts.items():
                times[name].append(timed(act) / length)
        ms = {name: median(values) for name, values in times.items()}
        views = median(timed(lambda k=k: run.source.at(k)) for k in range(20, 24))
        panel = timed(lambda: run.recorder.observers["panel"].state(_Seen(run)))
    launched = f"{ms['launched']:8.1f}" if both else f"{'-':>8}"
    return (
        f"{encoder:12} {style:8} {size:5} {ms['ours']:8.1f} {launched} {ms['silent']:8.1f} {ms['bare']:8.1f} "
        f"{ms['stock']:8.1f} {ms['ours'] / ms['stock']:6.2f} {ms['bare'] / ms['stock']:6.2f} {views:7.1f} "
        f"{panel:7.1f} {own[0]:6.1f} {own[1]:6.1f} {theirs[0]:6.1f} {theirs[1]:6.1f}"
    )


class _Seen:
    """What a panel's observer asks of an observation."""

    def __init__(self, run: Run) -> None:
        self.arms = run.arms


def bare(run: Run, batch: object) -> None:
    """Forward, backward and update of the run's arms on a fixed batch."""
    for arm in run.arms.values():
        arm.forward_backward(batch)  # type: ignore[arg-type]
    for arm in run.arms.values():
        arm.update(0.1)


HEAD = (
    "ms a step, two arms, 32 px, CIFAR stem; GiB at most of tensors and reserved, ours and stock's\n"
    "encoder      numbers      B     ours launched  no rec.     bare    stock  ratio   bare   views   panel "
    "   ours   res.  stock   res."
)


def _rows(cells: list[tuple[str, str, int]], *, both: bool = False) -> tuple[str, str]:
    lines, failed = [], []
    for encoder, style, size in cells:
        for _ in range(2):
            try:
                lines.append(measured(encoder, style, size, both=both))
                failed = [line for line in failed if not line.startswith(f"{encoder} {style}: out of memory")]
                break
            except torch.OutOfMemoryError:
                size //= 2
                torch.cuda.empty_cache()
                failed.append(f"{encoder} {style}: out of memory at B = {2 * size}")
            except Exception as error:
                failed.append(f"{encoder} {style}: {type(error).__name__} {str(error)[:200]}")
                break
        print(lines[-1] if lines else failed[-1], flush=True)
        runtime.forget_run()
    check(not failed, "; ".join(failed) + "\n" + "\n".join(lines))
    return f"{len(lines)} rows", "\n".join([HEAD, *lines])


def _profile(encoder: str, style: str, size: int, layout: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(folder, encoder, style, size, layout)
        run = assemble(config)
        with run:
            for step in range(3):
                advance(run, step)
            torch.cuda.synchronize()
            activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
            with torch.profiler.profile(activities=activities) as profile:
                advance(run, 3)
                torch.cuda.synchronize()
            stock = Stock(config, run.source.device, torch.channels_last)
            batch = run.source.at(0)
            stock.step(batch)
            torch.cuda.synchronize()
            with torch.profiler.profile(activities=activities) as other:
                stock.step(batch)
                torch.cuda.synchronize()
    return f"{encoder} {style} B = {size}\nours\n{_kernels(profile)}\nstock\n{_kernels(other)}"


def _kernels(profile: torch.profiler.profile) -> str:
    events = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    time, count = Counter[str](), Counter[str]()
    for event in events:
        time[event.name[:110]] += event.device_time_total
        count[event.name[:110]] += 1
    total = sum(time.values())
    lines = [f"{total / 1e3:.1f} ms in {len(events)} launches"]
    lines += [f"{us / 1e3:8.2f} ms {count[name]:5} {name}" for name, us in time.most_common(22)]
    return "\n".join(lines)


@part()
def the_command_bench() -> tuple[str, str]:
    root = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "coupled", "bench", "configs/bench/resnet50_b1024.toml", "--steps", "10"]
        ended = subprocess.run(
            [*command, "--set", f"paths.runs={folder}"],
            capture_output=True,
            text=True,
            cwd=root,
            check=False,
            timeout=90,
        )
    check(ended.returncode == 0, f"exit code {ended.returncode}: {ended.stderr.strip()[-600:]}")
    return ended.stdout.splitlines()[-1], ended.stdout


@part()
def where_a_step_of_resnet18_in_bf16_goes() -> tuple[str, str]:
    return "", _profile("resnet18", "bf16", 1024, "channels_last")


@part()
def arms_of_a_small_network_side_by_side() -> str:
    placebos = {f"p{k}": {"kind": "placebo", "of": "nscl", "draw": k} for k in range(1, 9)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        config = config_of(folder, "resnet-small", "float32", 128, **placebos)
        runs = {
            way: stack.enter_context(
                assemble(replace(config, name=way, train=replace(config.train, side_by_side=way == "beside")))
            )
            for way in ("in turns", "beside")
        }
        times = defaultdict[str, list[float]](list)
        for block in range(BLOCKS + 1):  # in the first, graphs are captured
            steps = range(4 * block, 4 * block + 4)
            for way, run in runs.items():
                times[way].append(timed(lambda run=run, steps=steps: [advance(run, k) for k in steps]) / 4)
        ms = {way: median(values[1:]) for way, values in times.items()}
        for name, arm in runs["in turns"].arms.items():
            other = runs["beside"].arms[name]
            for key, tensor in checkpoints.tensors(arm).items():
                check(torch.equal(tensor, checkpoints.tensors(other)[key]), f"{key} of {name} is another side by side")
    return f"{len(config.arms)} arms, equal bytes: {ms['in turns']:.1f} ms in turns, {ms['beside']:.1f} side by side"


@part()
def a_step_needs_the_memory_of_one_turn_while_graphs_are_made() -> str:
    more = {f"p{k}": {"kind": "placebo", "of": "nscl", "draw": k} for k in range(1, 4)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        run = stack.enter_context(assemble(config_of(folder, "resnet18", "bf16", 512, **more)))
        _, plain = peaks_of(lambda: advance(run, 0))
        held = torch.cuda.memory_reserved() / 2**30
        _, made = peaks_of(lambda: [advance(run, step) for step in (1, 2, 3)])
    check(made < 1.3 * plain, f"{made:.2f} GiB while graphs are made, {plain:.2f} before, {held:.2f} in reserve")
    return f"five arms: {plain:.2f} GiB in a step without graphs, {made:.2f} in those that make them"


@part()
def small_networks() -> tuple[str, str]:
    return _rows([("resnet-small", "float32", 128), ("resnet18", "bf16", 128), ("resnet18", "bf16", 1024)], both=True)


@part()
def the_bench_table() -> tuple[str, str]:
    cells = [(encoder, style, 1024) for style in STYLES for encoder in ("resnet18", "resnet50")]
    return _rows([cell for cell in cells if cell != ("resnet18", "bf16", 1024)])
