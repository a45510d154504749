"""Forward and backward of batch-norm, ours against torch's, in both memory layouts: one norm, and a whole small ResNet.

    OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/bench_batchnorm.py [--threads 1 2] [--repeats 11]

In turns in one process; the median of `--repeats`. With one thread it is CPU time, which a busy machine disturbs less.
One norm: each layout against torch's in the same layout, as our network passes on what it is given. A network: in
brackets the ratio to torch's in its better layout.
"""

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from coupled.memory import tune_memory
from coupled.models.batchnorm import BatchNorm
from coupled.models.resnet import Projector, SmallResNet
from coupled.objectives.losses import loss

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# Of the small ResNet, width 8, 28 px; of projectors; of ResNet-18, width 64, 32 px, two views of 64 images.
SHAPES = (
    *((256, 8, 28, 28), (256, 16, 14, 14), (256, 32, 7, 7), (256, 64, 4, 4)),
    *((256, 64), (256, 128), (128, 512)),
    *((64, 256, 32, 32), (128, 64, 32, 32), (128, 128, 16, 16), (128, 256, 8, 8), (128, 512, 4, 4)),
)
SAMPLES, WIDTH = 128, 8


def filled(module: nn.Module) -> nn.Module:
    """Plain values for what our constructors leave empty."""
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.ndim > 1:
                tensor.normal_(0, 0.1)
            elif tensor.is_floating_point():
                tensor.fill_(float(name.endswith(("weight", "running_var"))))
    return module


def with_torchs_norms(network: nn.Module) -> nn.Module:
    for parent in list(network.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, BatchNorm):
                kind = nn.BatchNorm1d if isinstance(parent, Projector) else nn.BatchNorm2d
                setattr(parent, name, kind(len(norm.weight)))
    return network


def norm_calls(shape: tuple[int, ...], layout: torch.memory_format, theirs: bool) -> dict[str, Callable[[], object]]:
    """Forward, backward and evaluation of one norm."""
    theirs_of = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    norm = filled((theirs_of if theirs else BatchNorm)(shape[1]))
    evaluated = filled((theirs_of if theirs else BatchNorm)(shape[1])).eval()
    memory = {"memory_format": layout} if len(shape) == 4 else {}
    x = torch.randn(shape).contiguous(**memory).requires_grad_()
    gradient = torch.randn(shape).contiguous(**memory)
    y: list[Tensor] = []

    def forward() -> None:
        y[:] = [norm(x)]
        forget(norm)

    def backward() -> None:
        # Not into x.grad: torch would copy what a function in Python returns, and inside a network does not.
        torch.autograd.grad(y.pop(), (x, norm.weight, norm.bias), gradient)

    @torch.no_grad()
    def evaluate() -> None:
        evaluated(x)

    return {"forward": forward, "backward": backward, "evaluation": evaluate}


def network_call(theirs: bool, size: int, layout: torch.memory_format) -> Callable[[], None]:
    network = filled(nn.Sequential(SmallResNet(WIDTH, "relu"), Projector(8 * WIDTH, 64, 64, "relu")))
    network = (with_torchs_norms(network) if theirs else network).to(memory_format=layout)
    images: Tensor = torch.randn(2 * SAMPLES, 3, size, size).contiguous(memory_format=layout)

    def call() -> None:
        network.zero_grad()
        z = F.normalize(network[1](network[0](images)[0]), dim=1)
        loss("dcl", z, None, 0.5).backward()
        forget(network)

    return call


def forget(network: nn.Module) -> None:
    """Drop what our norms have seen since the last update; here there is none."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module._seen.clear()


def medians(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The median milliseconds of each call, made in turns, after one round to warm up."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = clock()
            call()
            if repeat:
                times[name].append(1e3 * (clock() - start))
    return {name: median(taken) for name, taken in times.items()}


def of_norms(repeats: int) -> Table:
    passes = ("forward", "backward", "evaluation")
    table = Table("one norm", "layout", *[f"{name}, ms: ours / torch's" for name in passes])
    for shape in SHAPES:
        for layout in list(LAYOUTS)[: len(shape) - 1]:
            both = {whose: norm_calls(shape, LAYOUTS[layout], whose == "torch") for whose in ("ours", "torch")}
            times = medians({f"{whose} {name}": both[whose][name] for name in passes for whose in both}, repeats)
            ratios = [(times[f"ours {name}"], times[f"torch {name}"]) for name in passes]
            table.add_row(
                str(shape), layout, *[f"{own:.3f} / {other:.3f} = {own / other:.2f}" for own, other in ratios]
            )
    return table


def of_networks(repeats: int) -> Table:
    columns = [f"{whose} {layout}" for whose in ("torch", "ours") for layout in LAYOUTS]
    table = Table(f"a network, {SAMPLES} × 2 views, ms", *columns)
    for size in (24, 28):
        calls = [network_call(theirs, size, layout) for theirs in (True, False) for layout in LAYOUTS.values()]
        times = medians(dict(zip(columns, calls, strict=True)), repeats)
        best = min(time for name, time in times.items() if name.startswith("torch"))
        table.add_row(f"{size} px", *[f"{times[name]:.2f} ({times[name] / best:.2f})" for name in columns])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args()
    tune_memory()
    console = Console(width=140)
    for threads in options.threads:
        torch.set_num_threads(threads)
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        console.print(
            f"{threads} thread(s); load {load}", of_norms(options.repeats), of_networks(options.repeats), sep="\n"
        )


if __name__ == "__main__":
    main()
